"""What a prediction says without weights: parameters, the largest micro-batch, strategies, room."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

from neft_ray.cli.app import app
from neft_ray.config.load import load_sweep
from neft_ray.config.strategy import DdpConfig, DeepspeedConfig, FsdpConfig
from neft_ray.data.batches import StepOrder, batches_of_rank
from neft_ray.data.split import Split
from neft_ray.errors import UserError
from neft_ray.memory.fit import PROCESS_BYTES, Room, problem, room_of, trials_per_gpu
from neft_ray.memory.held import Setting
from neft_ray.memory.ledgers import LEDGERS, peak
from neft_ray.memory.live import LiveBytes
from neft_ray.memory.predict import STRATEGIES, Predictor, largest_micro_batch
from neft_ray.memory.recorder import ROOT, Moment
from neft_ray.memory.trace import Group, Trace, trace_step
from neft_ray.model import load_model
from neft_ray.strategy.models import for_training
from neft_ray.strategy.registry import STRATEGIES as REGISTRY
from tests.unit.trial_runs import VOCABULARY, random_data, small_config

ROOT_FOLDER = Path(__file__).parents[2]
LORA = {"model.lora.rank": 4, "model.lora.modules_to_save": ["embed_tokens"]}
SHAPE = (2, 16)


def a_trace(num_layers=6, layer=10**9, root=10**8):
    """A model in which every part has a size that no other has; no activations."""
    groups = {ROOT: Group(root, root)} | {i: Group(layer, layer) for i in range(num_layers)}
    forward = [Moment(False, g, {}) for g in [ROOT, *range(num_layers), ROOT]]
    made, backward = {}, [Moment(True, ROOT, {})]
    for g in [*reversed(range(num_layers)), ROOT]:
        backward.append(Moment(True, g, dict(made)))
        made[g] = groups[g].trained
        backward.append(Moment(True, g, dict(made)))
    return Trace(num_layers * layer + root, root // 2, 0, groups, forward + backward)


# Parameters


@pytest.mark.parametrize("values", [{}, LORA], ids=["whole", "lora"])
def test_parameters_are_those_of_the_real_model(values):
    config = small_config(values)
    model = for_training(load_model(config.model), config)
    total = trace_step(config, SHAPE).total
    assert total.all == sum(p.numel() for p in model.parameters())
    assert total.trained == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_tied_weights_count_once(tmp_path):
    sizes = {}
    for tied in (True, False):
        config = load_model(small_config().model).config
        config.tie_word_embeddings = tied
        config.save_pretrained(tmp_path / str(tied))
        trial = small_config({"model.path": str(tmp_path / str(tied))})
        sizes[tied] = trace_step(trial, SHAPE).total.all
    assert sizes[False] - sizes[True] == config.vocab_size * config.hidden_size


def test_only_a_configuration_is_read(tmp_path):
    model = load_model(small_config().model)
    model.config.save_pretrained(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]
    predicted = Predictor(small_config({"model.path": str(tmp_path)}))
    assert predicted.of(predicted.config) == Predictor(small_config()).of(small_config())


# The micro-step


@pytest.mark.parametrize(
    ("written", "told"),
    [('{"model_type": "t5"}', "t5 is no causal language model"), ("{", "cannot be loaded")],
)
def test_what_is_no_model_is_refused_as_before_a_sweep(tmp_path, written, told):
    (tmp_path / "config.json").write_text(written)
    with pytest.raises(UserError, match=told):
        trace_step(small_config({"model.path": str(tmp_path)}), SHAPE)


def test_gradients_are_complete_in_the_end_and_each_in_its_group():
    trace = trace_step(small_config(), SHAPE)
    assert trace.moments[-1].made == {g: group.trained for g, group in trace.groups.items()}
    assert not trace.moments[0].made
    assert [m.group for m in trace.moments if not m.backward and m.group != ROOT] == sorted(
        g for g in trace.groups if g != ROOT
    )


def test_every_token_is_taken_as_a_target():
    rows, tokens = SHAPE
    logits = max(m.logits for m in trace_step(small_config(), SHAPE).moments)
    of_all = rows * (tokens - 1) * VOCABULARY * 4
    assert 4 * of_all <= logits < 5 * of_all  # logarithms, two gradients, that of the weight


def test_no_mask_or_scores_grow_with_the_square_of_the_length():
    once, twice = (
        max(m.activations for m in trace_step(small_config(), (1, tokens)).moments)
        for tokens in (1024, 2048)
    )
    assert 1.9 < twice / once < 2.02, "a chunk of logits stays as it is"


def test_the_loss_head_is_told_from_the_layers():
    moments = trace_step(small_config(), SHAPE).moments
    assert all(m.logits == 0 for m in moments if not m.backward and m.group != ROOT)
    assert all(m.logits <= m.activations for m in moments)


def test_checkpointing_keeps_less_and_adapters_leave_few_gradients():
    shape = (4, 64)
    most = {
        name: max(m.activations for m in trace_step(small_config(values), shape).moments)
        for name, values in {"": {}, "less": {"model.activation_checkpointing": True}}.items()
    }
    assert most["less"] < 0.8 * most[""]
    lora = trace_step(small_config({"model.lora.rank": 4}), SHAPE)
    assert sum(lora.moments[-1].made.values()) == lora.total.trained < 0.2 * lora.total.all


# The largest micro-batch


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


# Strategies


def test_every_strategy_has_a_ledger():
    assert LEDGERS.keys() == REGISTRY.keys()


def test_a_copy_is_four_times_its_parameters_in_float32():
    held = peak(a_trace(), Setting(DdpConfig(), 1, accumulates=False))
    numel = a_trace().total.all
    assert (held.parameters, held.gradients, held.optimizer) == (4 * numel, 4 * numel, 8 * numel)
    assert held.buffers == held.activations == 0


@pytest.mark.parametrize("accumulates", [False, True])
@pytest.mark.parametrize("name", ["fsdp", "zero 1", "zero 2", "zero 3"])
def test_more_workers_hold_less_each(name, accumulates):
    sizes = [
        peak(a_trace(), Setting(STRATEGIES[name], world, accumulates)).total
        for world in (2, 4, 8, 16)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]


@pytest.mark.parametrize("accumulates", [False, True])
def test_a_higher_stage_holds_less(accumulates):
    names = ["ddp", "zero 1", "zero 2", "zero 3"]
    sizes = [peak(a_trace(), Setting(STRATEGIES[n], 8, accumulates)).total for n in names]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4


def test_fsdp_keeps_whole_gradients_between_micro_steps_and_shards_otherwise():
    total, world = a_trace().total, 8
    often = peak(a_trace(), Setting(FsdpConfig(), world, accumulates=True))
    once = peak(a_trace(), Setting(FsdpConfig(), world, accumulates=False))
    assert often.gradients >= 4 * total.trained
    assert once.gradients < 4 * (total.trained / world + a_trace().groups[0].trained)
    assert once.parameters == often.parameters == 4 * total.all / world


def test_fsdp_that_gathers_once_holds_the_model():
    strategy = FsdpConfig(reshard_after_forward=False)
    held = peak(a_trace(), Setting(strategy, 8, accumulates=False))
    assert held.buffers >= 4 * a_trace().total.all


@pytest.mark.parametrize("stage", [1, 2])
def test_zero_reduces_a_copy_of_a_bucket_of_at_most_two_gigabytes(stage):
    for trace, size in ((a_trace(), 2 * 10**9), (a_trace(2, 10**6, 10**6), 12 * 10**6)):
        strategy = DeepspeedConfig(zero_stage=stage)
        assert peak(trace, Setting(strategy, 2, accumulates=True)).buffers == 2 * size


def test_bfloat16_parameters_take_half():
    half = Setting(DeepspeedConfig(zero_stage=1, params_dtype="bfloat16"), 2, accumulates=False)
    whole = Setting(DeepspeedConfig(zero_stage=1), 2, accumulates=False)
    assert peak(a_trace(), half).parameters == peak(a_trace(), whole).parameters / 2
    assert peak(a_trace(), half).optimizer == peak(a_trace(), whole).optimizer


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


# Room


def test_a_trial_that_does_not_fit_is_told_what_would():
    predictor = Predictor(small_config({"workers.num": 2, "batch.size_examples": 64}))
    needed = predictor.of(predictor.config).device
    assert problem("x.yaml", predictor, Room(needed, "here")) is None
    assert problem("x.yaml", predictor, Room(None, "unknown")) is None
    tight = problem("x.yaml", predictor, Room(needed - 1, "here"))
    assert tight.where == "x.yaml" and "GB (here)" in tight.what
    named = tight.remedy.split(" would need ")[0]
    assert predictor.of(dict(predictor.compared())[named]).device < needed
    assert "no strategy fits" in problem("x.yaml", predictor, Room(1.0, "here")).remedy


def test_workers_without_gpus_share_the_memory_of_the_machine():
    one = room_of(small_config({"workers.cpus": 1}), slots=1)
    cores = round(one.size / room_of(small_config({"workers.cpus": 1}), slots=None).size)
    assert cores == len(os.sched_getaffinity(0))
    two = room_of(small_config({"workers.num": 2, "workers.cpus": cores}), slots=1)
    assert two.size == one.size / 2


def test_small_trials_are_told_to_share_a_gpu(monkeypatch):
    monkeypatch.setattr("neft_ray.memory.fit.num_cores", lambda: 6)
    alone = Predictor(small_config({"workers.gpus": 1.0, "workers.cpus": 1}))
    one = alone.of(alone.config).device + PROCESS_BYTES
    assert trials_per_gpu(alone, Room(3.5 * one, "a GPU")) == 3
    assert trials_per_gpu(alone, Room(30 * one, "a GPU")) == 6, "a core each"
    assert trials_per_gpu(alone, Room(0.5 * one, "a GPU")) == 1
    assert trials_per_gpu(alone, Room(None, "unknown")) == 1
    for values in ({"workers.gpus": 0.5}, {"workers.gpus": 1.0, "workers.num": 2}):
        assert trials_per_gpu(Predictor(small_config(values)), Room(30 * one, "a GPU")) == 1


def test_gpus_that_are_not_here_are_unknown(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    room = room_of(small_config({"workers.gpus": 1.0}), slots=None)
    assert room.size is None and "unknown" in room.what


# Commands


def written(tmp_path, *changes):
    text = (ROOT_FOLDER / "sweeps" / "quickstart.yaml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / "x.yaml"
    file.write_text(text)
    return str(file)


def test_validate_warns_and_does_not_refuse(tmp_path, monkeypatch):
    file = written(tmp_path)
    predictor = Predictor(load_sweep(Path(file)).trial)
    size = predictor.of(predictor.config).device - 1
    monkeypatch.setattr("neft_ray.memory.fit.num_cores", lambda: 1)
    monkeypatch.setattr("neft_ray.memory.fit.host_memory_bytes", lambda: size)
    result = CliRunner().invoke(app, ["validate", "--memory", file])
    assert result.exit_code == 0
    assert "warning" in result.output and "would need" in result.output


def test_validate_says_what_it_does_not_know(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu = written(tmp_path, ("{num: 1, cpus: 1}", "{num: 1, gpus: 1}"))
    result = CliRunner().invoke(app, ["validate", "--memory", gpu])
    assert result.exit_code == 0 and "memory unknown" in result.output
    empty = tmp_path / "empty"
    empty.mkdir()
    lost = written(tmp_path, ("builtin:base", str(empty)))
    result = CliRunner().invoke(app, ["validate", "--memory", lost])
    assert result.exit_code == 0 and "memory unknown" in result.output


def test_validate_loads_no_framework_before_memory_is_asked_for():
    code = (
        "import sys; from neft_ray.cli.app import app\n"
        "try: app(['validate', 'sweeps/quickstart.yaml'])\n"
        "except SystemExit: print({'torch', 'ray', 'transformers'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT_FOLDER, capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "set()"


def test_plan_compares_all_strategies(tmp_path):
    file = written(tmp_path, ("storage: runs", f"storage: {tmp_path}"))
    result = CliRunner().invoke(app, ["plan", "--compare", file], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert all(f"\n{name} " in result.output for name in STRATEGIES)
    assert "checkpointing" in result.output and "all of them targets" in result.output


# The counter


def test_views_count_once_and_what_is_gone_not_at_all():
    counter = LiveBytes()
    with counter.counting():
        first = torch.zeros(1000)
        views = [first.view(10, 100), first[:5], first.t()]
        assert counter.now == 4000
        second = first + 1
        assert counter.now == counter.peak == 8000
        del first, views
        gc.collect()
        assert counter.now == 4000
        counter.reset_peak()
        second.add_(1)
        assert counter.peak == 4000
        second.untyped_storage().resize_(0)
        assert counter.now == 0
    assert torch.zeros(10).numel() == 10 and counter.now == 0


def test_tensors_made_before_count_once_they_are_used():
    weight, counter = nn.Linear(10, 10, bias=False).weight, LiveBytes()
    with counter.counting():
        out = weight.detach() * 2
        assert counter.now == 800
        meta = torch.empty(1000, device="meta") * 2
        assert counter.now == 800
    assert out.numel() == 100 and meta.numel() == 1000
