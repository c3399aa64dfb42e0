"""What a strategy needs of the machine and the model is asked for before training."""

import logging
from contextlib import suppress

import pytest
import torch
from deepspeed.comm.torch import build_shm_op
from deepspeed.ops.op_builder import AsyncIOBuilder

from neft_ray.cli.sweeps import validate
from neft_ray.config.load import load_sweep, parse_sweep
from neft_ray.errors import UserError
from neft_ray.pipeline.session import open_data
from neft_ray.strategy import checks
from neft_ray.strategy.base import trained
from neft_ray.strategy.models import BaseModels
from neft_ray.strategy.registry import build_engine
from neft_ray.strategy.zero_setup import into_log, quiet_deepspeed
from tests.unit.config_files import FILE, changed
from tests.unit.trial_runs import small_config

NVME = {
    "strategy.kind": "deepspeed",
    "strategy.zero_stage": 3,
    "strategy.offload_optimizer": "nvme",
    "strategy.nvme_folder": "/scratch",
}
BFLOAT16_ON_GPU = {"model.dtype": "bfloat16", "workers.gpus": 1.0}


def problems(values):
    return [str(problem) for problem in checks.machine_problems(small_config(values))]


def test_nothing_is_lacking_where_nothing_is_needed():
    assert problems({}) == []
    assert problems({"strategy.kind": "deepspeed", "strategy.offload_optimizer": "cpu"}) == []


def test_nvme_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setattr(checks.shutil, "which", lambda name: None)
    (problem,) = problems(NVME)
    assert problem.startswith("strategy.offload_optimizer: DeepSpeed compiles its disk access")
    assert "install g++ and ninja, or offload to cpu" in problem


@pytest.mark.parametrize("is_there", [True, False])
def test_nvme_without_libaio_is_refused(monkeypatch, is_there):
    monkeypatch.setattr(checks.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(AsyncIOBuilder, "is_compatible", lambda self, verbose: is_there)
    found = problems(NVME | {"strategy.offload_params": "nvme"})
    assert [problem.split(";")[0] for problem in found] == (
        []
        if is_there
        else [
            f"strategy.{key}: libaio is missing" for key in ("offload_optimizer", "offload_params")
        ]
    )


def test_bfloat16_on_a_gpu_without_it_is_refused_and_elsewhere_not(monkeypatch):
    assert problems(BFLOAT16_ON_GPU) == []  # unknown where there is no GPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    (problem,) = problems(BFLOAT16_ON_GPU)
    assert problem == "model.dtype: Tesla V100 has no bfloat16; write model.dtype: float32"
    assert problems({"model.dtype": "bfloat16"}) == []


def test_an_engine_is_not_built_on_a_machine_that_lacks_something(monkeypatch):
    monkeypatch.setattr(checks.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="DeepSpeed compiles"):
        build_engine(small_config(NVME), BaseModels(), torch.device("cpu"))


def test_more_workers_than_parameters_are_refused():
    model = BaseModels().copied(small_config())
    num = sum(p.numel() for p in trained(model).values())
    checks.enough_parameters(model, num)
    with pytest.raises(UserError, match=rf"{num + 1} workers cannot share {num} trained"):
        checks.enough_parameters(model, num + 1)


def test_the_switch_that_spares_the_compiler_is_still_there():
    quiet_deepspeed()
    import deepspeed

    switches = deepspeed.ops.__compatible_ops__
    assert "deepspeed_shm_comm" in switches
    was, switches["deepspeed_shm_comm"] = switches["deepspeed_shm_comm"], False
    assert build_shm_op() is None
    switches["deepspeed_shm_comm"] = was


@pytest.mark.parametrize("fails", [False, True])
def test_what_deepspeed_prints_is_in_the_log_where_it_fails(caplog, capsys, fails):
    with suppress(OSError), caplog.at_level(logging.INFO, "neft_ray"), into_log():
        print("libaio is missing")
        if fails:
            raise OSError
    assert ("deepspeed: libaio is missing" in caplog.text) == fails
    assert capsys.readouterr().out == ""


NVME_FILE = changed(
    (
        "strategy: {kind: ddp}",
        "strategy: {kind: deepspeed, zero_stage: 3, offload_params: nvme, nvme_folder: /scratch}",
    )
)


@pytest.fixture
def nvme_file(tmp_path, monkeypatch):
    """A sweep file that needs a compiler, on a machine that has none."""
    monkeypatch.setattr(checks.shutil, "which", lambda name: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    file = tmp_path / "x.yaml"
    file.write_text(NVME_FILE)
    return file


def test_what_the_machine_lacks_is_told_with_the_file(nvme_file, capsys):
    with pytest.raises(UserError) as raised:
        validate([nvme_file, FILE])
    (problem,) = raised.value.problems
    assert problem.where == f"{nvme_file}: strategy.offload_params"
    assert capsys.readouterr().out == f"{FILE}: ok\n"


def test_what_the_machine_lacks_is_told_before_model_and_data_are_looked_for(nvme_file):
    with pytest.raises(UserError, match="offload_params: DeepSpeed compiles") as raised:
        open_data(load_sweep(nvme_file))
    assert "meta-llama" not in str(raised.value)


def test_what_the_machine_lacks_does_not_matter_to_a_cluster(nvme_file, monkeypatch):
    with pytest.raises(UserError, match="meta-llama"):
        open_data(load_sweep(nvme_file), "ray://head:10001")
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    validate([nvme_file])


def test_a_dtype_that_only_the_space_has_is_checked_too(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    searched = "space:\n    model.dtype: {choice: [float32, bfloat16]}"
    text = changed(("dtype: bfloat16", "dtype: float32"), ("space:", searched))
    found = checks.sweep_problems(parse_sweep(text, "x.yaml", []))
    assert [problem.where for problem in found] == ["model.dtype"]


def test_compiling_without_a_compiler_is_refused(monkeypatch):
    assert problems({"model.compile": True}) == []
    monkeypatch.setattr(checks.shutil, "which", lambda name: None)
    (problem,) = problems({"model.compile": True})
    assert problem.startswith("model.compile: torch compiles with g++")
    assert "install g++, or write model.compile: false" in problem
