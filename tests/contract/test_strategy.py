"""Every strategy gives the curve of a single process, and its checkpoints go on anywhere."""

import shutil
from types import SimpleNamespace

import pytest
import torch

from neft_ray.model import load_model
from neft_ray.strategy.models import for_training
from neft_ray.strategy.registry import STRATEGIES, strategy_of
from neft_ray.train.checkpoint import damage, read_state
from neft_ray.train.stored import folder_of
from tests.contract.strategy_runs import (
    CASES,
    HALF,
    KINDS,
    NUM_ANSWERS,
    PART,
    PROBE,
    RESUMED,
    STEPS,
    checkpoints,
    configured,
    from_the_beginning,
    one_worker,
    run_group,
    two_workers_again,
)

LOSS, NORM = {"abs": 1e-5}, {"rel": 1e-4}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What a single process sees that has a whole copy and no process group."""
    return from_the_beginning(tmp_path_factory.mktemp("alone"), "ddp")


@pytest.fixture(scope="module", params=KINDS)
def runs(request, tmp_path_factory):
    """Two workers from the beginning, one that goes on from there, two that go on from both."""
    folder, kind = tmp_path_factory.mktemp("strategy"), request.param
    two = run_group(from_the_beginning, 2, folder, kind)
    one = run_group(one_worker, 1, folder, kind)
    again = run_group(two_workers_again, 2, folder, kind)
    return SimpleNamespace(kind=kind, folder=folder, two=two, one=one[0], again=again)


def assert_same_curve(ours, theirs):
    assert [m["step"] for m in ours] == [m["step"] for m in theirs]
    for key, tolerance in (("train_loss", LOSS), ("grad_norm", NORM)):
        expected = pytest.approx([m[key] for m in theirs], **tolerance)
        assert [m[key] for m in ours] == expected, key


def losses_and_norms(curve):
    return [(m["train_loss"], m["grad_norm"]) for m in curve]


def test_the_registry_holds_what_the_config_knows():
    assert STRATEGIES.keys() == {configured(kind, "whole").strategy.kind for kind in KINDS}


@pytest.mark.parametrize("case", CASES)
def test_two_workers_give_the_curve_of_a_single_process(runs, alone, case):
    assert_same_curve(runs.two[0][case]["curve"], alone[case]["curve"])


@pytest.mark.parametrize("case", CASES)
def test_all_ranks_see_the_same_losses_and_norms(runs, case):
    first, second = (losses_and_norms(found[case]["curve"]) for found in runs.two)
    assert first == second


@pytest.mark.parametrize("case", CASES)
def test_two_workers_evaluate_as_one(runs, alone, case):
    metrics, rows = alone[case]["evaluation"]
    for found in runs.two:
        assert found[case]["evaluation"][0] == pytest.approx(metrics, rel=1e-5)
        assert found[case]["evaluation"][1] == pytest.approx(rows, rel=1e-5)


@pytest.mark.parametrize("case", RESUMED)
def test_two_workers_share_the_rows_to_answer_and_answer_as_one(runs, alone, case):
    expected = alone[case]["answers"]
    assert len({answer.text for answer in expected}) == len(expected) == NUM_ANSWERS
    for found in runs.two:
        assert found[case]["answers"] == expected


@pytest.mark.parametrize("case", RESUMED)
def test_forwards_go_on_after_answers(runs, case):
    first, second = (found[case]["probe after answers"] for found in runs.two)
    assert first == second


@pytest.mark.parametrize("case", CASES)
def test_a_row_has_the_same_noise_on_one_worker_and_on_two(runs, alone, case):
    first, second = (found[case]["noised"] for found in runs.two)
    assert not first.keys() & second.keys()
    assert first | second == alone[case]["noised"]


def test_checkpointing_changes_no_number(runs):
    for found in runs.two:
        assert found["whole"]["curve"] == found["checkpointing"]["curve"]


def test_packing_changes_a_curve_by_rounding_alone(runs, alone):
    for found in (runs.two[0], alone):
        assert_same_curve(found["packed"]["curve"], found["whole"]["curve"])


@pytest.mark.parametrize("case", RESUMED)
def test_a_resumed_run_is_bitwise_the_uninterrupted_one(runs, case):
    for found, uninterrupted in zip(runs.again, runs.two, strict=True):
        resumed = found[2, case]
        assert resumed["step"] == HALF
        assert resumed["curve"] == uninterrupted[case]["curve"][HALF:]
        assert resumed["evaluation"] == uninterrupted[case]["evaluation"]


@pytest.mark.parametrize("case", RESUMED)
def test_one_worker_goes_on_from_two_and_two_from_one(runs, case):
    uninterrupted = runs.two[0][case]["curve"]
    assert runs.one[case]["step"] == HALF
    assert_same_curve(runs.one[case]["curve"], uninterrupted[HALF:PART])
    for found in runs.again:
        assert found[1, case]["step"] == PART
        assert_same_curve(found[1, case]["curve"], uninterrupted[PART:STEPS])


def test_machines_with_copies_of_their_own_go_on_from_another_number_of_workers(runs):
    for found in runs.again:
        curve, left = found["apart"]
        assert curve == found[1, "whole"]["curve"]
        assert left == [".bucket", f"step-{PART:06d}"]


@pytest.mark.parametrize("case", RESUMED)
def test_a_checkpoint_gives_a_whole_model_without_workers(runs, case):
    config = configured(runs.kind, case)
    model = for_training(load_model(config.model), config)
    folder = folder_of(checkpoints(runs.folder, runs.kind, case, 2), HALF)
    strategy_of(config.strategy.kind).read_weights(folder, model.model)
    with torch.no_grad():
        found = model.eval()(PROBE.tokens_BT, PROBE.targets_BT).tolist()
    for there in runs.two:
        assert found == there[case]["probe"]


def test_adapters_are_all_that_their_checkpoints_hold(runs):
    sizes = {
        case: sum(
            file.stat().st_size
            for file in checkpoints(runs.folder, runs.kind, case, 2).rglob("*")
            if file.is_file()
        )
        for case in RESUMED
    }
    assert sizes["lora"] < 0.25 * sizes["whole"]


def test_a_truncated_file_is_noticed_wherever_it_lies(runs, tmp_path):
    config = configured(runs.kind, "whole")
    there = folder_of(checkpoints(runs.folder, runs.kind, "whole", 2), HALF)
    folder = shutil.copytree(there, tmp_path / there.name)
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "state.json"]
    assert damage(folder, config.config_hash) is None
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[:-1])
        assert damage(folder, config.config_hash).where == str(file)
        file.write_bytes(content)
    assert read_state(folder).num_workers == 2
