"""What a trial is predicted to hold: the largest micro-batch, offloading, the shipped sweeps."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neft_ray.config.load import load_sweep
from neft_ray.data.batches import StepOrder, batches_of_rank
from neft_ray.data.split import Split
from neft_ray.memory.predict import STRATEGIES, Predictor, largest_micro_batch
from neft_ray.memory.trace import trace_step
from neft_ray.model import load_model
from tests.unit.trial_runs import ROOT_FOLDER, SHAPE, random_data, small_config


def test_only_a_configuration_is_read(tmp_path):
    model = load_model(small_config().model)
    model.config.save_pretrained(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]
    predicted = Predictor(small_config({"model.path": str(tmp_path)}))
    assert predicted.of(predicted.config) == Predictor(small_config()).of(small_config())


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 12),
    budget=st.integers(1, 200),
    world=st.integers(1, 4),
    kind=st.sampled_from(["padded", "bucketed"]),
)
def test_no_step_has_a_larger_micro_batch_or_more_of_them(size, budget, world, kind):
    values = {"batch.size_examples": size, "batch.micro_tokens": budget, "batch.kind": kind}
    config = small_config(values | {"workers.num": world})
    data = random_data()
    rows = data.rows(Split.TRAIN).tolist()
    shape = largest_micro_batch(config, max(map(data.length, rows)))
    order = StepOrder(rows, size, seed=0)
    for step in range(1, order.steps_per_epoch + 1):
        for rank in range(world):
            batches = batches_of_rank(data, order.rows(step), config.batch, rank, world)
            assert max(b.tokens_BT.numel() for b in batches) <= max(
                shape.rows * shape.tokens, budget if shape.accumulates else 0
            )
            assert len(batches) == 1 or shape.accumulates


def test_the_largest_micro_batch_fills_the_budget():
    values = {"batch.size_examples": 64, "batch.micro_tokens": 1000, "data.max_length_tokens": 300}
    shape = largest_micro_batch(small_config(values))
    assert (shape.rows, shape.tokens, shape.accumulates) == (4, 250, True)
    shape = largest_micro_batch(small_config(values), longest_tokens=10)
    assert (shape.rows, shape.tokens, shape.accumulates) == (64, 10, False)
    shape = largest_micro_batch(small_config(values | {"batch.micro_tokens": 100}))
    assert (shape.rows, shape.tokens, shape.accumulates) == (1, 300, True)


@pytest.mark.parametrize(
    ("kind", "offload", "numbers"),
    [
        ({"strategy.kind": "fsdp"}, {"strategy.cpu_offload": True}, 3),
        (
            {"strategy.kind": "deepspeed", "strategy.zero_stage": 3},
            {"strategy.offload_optimizer": "cpu", "strategy.offload_params": "cpu"},
            4,
        ),
    ],
    ids=["fsdp", "zero 3"],
)
def test_what_is_offloaded_is_on_the_host(kind, offload, numbers):
    values = {"workers.gpus": 1.0, "workers.num": 2} | kind
    here = Predictor(small_config(values))
    before, after = here.of(here.config), here.of(small_config(values | offload))
    share = 4 * trace_step(here.config, SHAPE).total.all / 2
    assert after.held.parameters == after.held.optimizer == 0
    assert numbers * share <= after.host == after.offloaded <= (numbers + 1) * share
    assert after.device + after.offloaded <= before.device


def test_gradients_that_are_accumulated_whole_stay_on_the_device():
    values = {"workers.gpus": 1.0, "workers.num": 2, "strategy.kind": "fsdp"}
    here = Predictor(small_config(values | {"strategy.cpu_offload": True}))
    assert here.shape.accumulates
    whole = 4 * trace_step(here.config, SHAPE).total.trained
    assert here.of(here.config).held.gradients >= whole / 2


def test_without_gpus_the_base_model_for_the_next_trial_counts_as_well():
    here = Predictor(small_config())
    cpu, gpu = here.of(here.config), here.of(small_config({"workers.gpus": 1.0}))
    assert cpu.base == gpu.base == cpu.held.parameters
    assert cpu.device == gpu.device + cpu.base


@pytest.mark.parametrize("file", sorted((ROOT_FOLDER / "sweeps").glob("*.yaml")), ids=str)
def test_every_shipped_sweep_predicts_under_all_strategies(file):
    config = load_sweep(file, ["model.path=builtin:base"]).trial
    predictor = Predictor(config)
    found = {name: predictor.of(variant).device for name, variant in predictor.compared()}
    assert found.keys() == {f"{n}{more}" for n in STRATEGIES for more in ("", " + checkpointing")}
    assert all(size > 1e6 for size in found.values())
    assert all(found[f"{n} + checkpointing"] < found[n] for n in STRATEGIES)
