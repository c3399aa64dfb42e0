"""What a sweep file says of strategies and adapters: what cannot work is refused at its key."""

import pytest

from neft_ray.config.load import load_sweep
from tests.unit.config_files import FILE, RANGE, changed, problems

STRATEGY = "strategy: {kind: ddp}"
OPTIMIZER = "offload_optimizer: nvme is for stage 3; write zero_stage: 3"


def space(line):
    """Return what is wrong with a line of the space, in place of the learning rate's."""
    where = "x.yaml:19: sweep.space."
    return [problem.removeprefix(where) for problem in problems(changed((RANGE, line)))]


@pytest.mark.parametrize(
    ("strategy", "found"),
    [
        ("{kind: deepspeed, zero_stage: 2, offload_params: cpu}", "offload_params: stage 2 keeps"),
        (
            "{kind: deepspeed, offload_optimizer: nvme, nvme_folder: x}",
            "offload_optimizer: nvme is",
        ),
        ("{kind: deepspeed, zero_stage: 3, offload_params: nvme}", "nvme_folder: missing"),
        ("{kind: deepspeed, zero_stage: 3, offload_optimizer: nvme}", "nvme_folder: missing"),
        ("{kind: deepspeed, nvme_folder: x}", "nvme_folder: nothing is offloaded to nvme; remove"),
        ("{kind: deepspeed, zero_stage: 0}", "zero_stage: got 0; write a whole number at least 1"),
        ("{kind: ddp, zero_stage: 1}", "zero_stage: not a key of this kind; known: kind"),
        ("{kind: fsdp, cpu_ofload: true}", "cpu_ofload: unknown key; did you mean 'cpu_offload'"),
    ],
)
def test_a_strategy_that_cannot_work_is_refused_at_its_key(strategy, found):
    (problem,) = problems(changed((STRATEGY, f"strategy: {strategy}")))
    assert problem.startswith(f"x.yaml:14: strategy.{found}")


@pytest.mark.parametrize(
    "strategy",
    [
        "{kind: fsdp, reshard_after_forward: false, cpu_offload: true, params_dtype: bfloat16}",
        "{kind: deepspeed, zero_stage: 1, offload_optimizer: cpu, params_dtype: bfloat16}",
        "{kind: deepspeed, zero_stage: 3, offload_params: cpu, offload_optimizer: cpu}",
        "{kind: deepspeed, zero_stage: 3, offload_params: nvme, nvme_folder: /scratch}",
    ],
)
def test_strategies_that_work_are_accepted(strategy):
    assert problems(changed((STRATEGY, f"strategy: {strategy}"))) == []


def test_offload_to_the_host_needs_a_gpu_to_offload_from():
    fsdp = (STRATEGY, "strategy: {kind: fsdp, cpu_offload: true}")
    (problem,) = problems(changed(fsdp, ("gpus: 1", "gpus: 0")))
    assert problem.startswith("x.yaml:14: strategy.cpu_offload: the shards are in the host")


@pytest.mark.parametrize(
    "change",
    [
        ("dtype: bfloat16", "dtype: float32"),
        (RANGE, "model.dtype: {choice: [float32, bfloat16]}"),
        ("control: {noise.alpha: 0}", "control: {noise.alpha: 0, model.dtype: float32}"),
    ],
)
def test_parameters_in_half_precision_are_not_computed_with_in_float32(change):
    fsdp = (STRATEGY, "strategy: {kind: fsdp, params_dtype: bfloat16}")
    (problem,) = problems(changed(change, fsdp))
    assert problem.startswith("x.yaml:14: strategy.params_dtype: bfloat16 parameters cannot be")


@pytest.mark.parametrize(
    ("key", "choices"),
    [
        ("strategy.kind", "[ddp, fsdp]"),
        ("strategy.zero_stage", "[1, 2]"),
        ("workers.timeout_seconds", "[60]"),
        ("training.async_checkpoints", "[true]"),
        ("model.compile", "[true]"),
    ],
)
def test_how_a_trial_is_spread_cannot_be_searched(key, choices):
    problem, *_ = space(f"{key}: {{choice: {choices}}}")
    assert problem.startswith(f"{key}: must be the same in all trials; write it under `")


@pytest.mark.parametrize(
    ("lora", "found"),
    [
        ("{rank: 0}", ["model.lora.rank: got 0; write a whole number at least 1"]),
        ("{dropout: 1}", ["model.lora.dropout: got 1; write a number at least 0 and below 1"]),
        ("{modules_to_save: norm}", ["model.lora.modules_to_save: got the text 'norm'; write a"]),
        (
            "{target_modules: [1]}",
            [
                "model.lora.target_modules: got a list of 1; known: all-linear",
                "model.lora.target_modules[0]: got 1; write a text that is not empty",
            ],
        ),
        ("{}", []),
        ("{target_modules: [q_proj, v_proj], modules_to_save: [embed_tokens]}", []),
        ("null", []),
    ],
)
def test_adapters_are_checked_key_by_key(lora, found):
    line = "model: {path: meta-llama/Llama-3.2-1B, dtype: bfloat16"
    there = problems(changed((line, f"{line}, lora: {lora}")))
    assert len(there) >= len(found)
    assert (there == []) == (found == [])
    for problem, expected in zip(there, found, strict=False):
        assert problem.startswith(f"x.yaml:3: {expected}")


def test_adapters_can_be_searched_where_the_base_trial_has_none():
    assert space("model.lora.rank: {choice: [4, 8]}") == []
    assert space("model.lora.rank: {choice: [0]}") == [
        "model.lora.rank: got 0; write a whole number at least 1"
    ]
    control = ("control: {noise.alpha: 0}", "control: {noise.alpha: 0, model.lora.rank: 4}")
    assert problems(changed(control)) == []


def test_the_number_of_workers_is_no_part_of_what_a_checkpoint_belongs_to():
    trial = load_sweep(FILE).trial
    two = trial.with_values({"workers.num": 2, "workers.timeout_seconds": 60})
    assert two.config_hash == trial.config_hash
    assert trial.with_values({"strategy.kind": "fsdp"}).config_hash != trial.config_hash


def test_when_a_checkpoint_is_written_is_no_part_of_what_it_belongs_to():
    trial = load_sweep(FILE).trial
    waits, goes_on = (
        trial.with_values({"training.async_checkpoints": value}) for value in (False, True)
    )
    assert waits.config_hash == goes_on.config_hash
    assert waits.canonical_json != goes_on.canonical_json
    assert trial.with_values({"training.eval_every_steps": 7}).config_hash != trial.config_hash


@pytest.mark.parametrize("strategy", ["{kind: ddp}", "{kind: fsdp}", "{kind: deepspeed}"])
@pytest.mark.parametrize(
    ("section", "key", "what"),
    [
        ("training", "async_checkpoints", "DeepSpeed writes its checkpoints while training waits"),
        ("model", "compile", "layers are not compiled under DeepSpeed"),
    ],
)
def test_deepspeed_refuses_what_it_does_not_do(strategy, section, key, what):
    asked = (f"{section}: {{", f"{section}: {{{key}: true, ")
    there = problems(changed(asked, (STRATEGY, f"strategy: {strategy}")))
    assert len(there) == ("deepspeed" in strategy)
    for problem in there:
        assert f"{section}.{key}: {what}" in problem
        assert problem.endswith(f"write {key}: false, or strategy: {{kind: fsdp}}")
