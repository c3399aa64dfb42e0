"""Rules over model and strategy: what one asks for, the other can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from neft_ray.config.arm_checks import ARMS
from neft_ray.config.places import Finding, Path
from neft_ray.config.space import Value
from neft_ray.config.strategy import DdpConfig, DeepspeedConfig, FsdpConfig
from neft_ray.config.sweep import SweepConfig


def _shards_in_host_memory(config: SweepConfig) -> Iterator[Finding]:
    """Only a GPU has anything to move to the host's memory."""
    strategy = config.strategy
    if isinstance(strategy, FsdpConfig) and strategy.cpu_offload and not config.workers.gpus:
        what = "the shards are in the host's memory already: workers.gpus is 0"
        remedy = "give the workers GPUs, or write cpu_offload: false"
        yield Finding(("strategy", "cpu_offload"), what, remedy)


def _async_checkpoints(config: SweepConfig) -> Iterator[Finding]:
    """DeepSpeed's shards are written where they are, not from a copy."""
    if config.training.async_checkpoints and isinstance(config.strategy, DeepspeedConfig):
        what = "DeepSpeed writes its checkpoints while training waits"
        remedy = "write async_checkpoints: false, or strategy: {kind: fsdp}"
        yield Finding(("training", "async_checkpoints"), what, remedy)


def _compile(config: SweepConfig) -> Iterator[Finding]:
    """DeepSpeed's hooks are no part of what is compiled."""
    if config.model.compile and isinstance(config.strategy, DeepspeedConfig):
        what = "layers are not compiled under DeepSpeed"
        remedy = "write compile: false, or strategy: {kind: fsdp}"
        yield Finding(("model", "compile"), what, remedy)


def _quantization(config: SweepConfig) -> Iterator[Finding]:
    """Four bits hold what is not trained, and no strategy here takes shards of them."""
    if config.values_of("model.quantization") == {None}:
        return
    key: Path = ("model", "quantization")
    if any(
        config.values_in(fixed, "model.quantization") != {None} and not _has_adapters(config, fixed)
        for fixed in config.sweep.arms.values()
    ):
        what, remedy = "weights of 4 bits cannot be trained", "add `lora: {rank: 64}` beside it"
        yield Finding(key, what, remedy)
    if not isinstance(config.strategy, DdpConfig):
        what = f"{config.strategy.kind} does not take shards of 4-bit weights"
        yield Finding(key, what, "write strategy: {kind: ddp}; 4 bits are to fit on one GPU")


def _freeze_embedding(config: SweepConfig) -> Iterator[Finding]:
    """With adapters nothing of the model is trained that could be left out."""
    if any(
        True in config.values_in(fixed, "model.freeze_embedding") and _has_adapters(config, fixed)
        for fixed in config.sweep.arms.values()
    ):
        what = "with adapters the embedding is not trained anyway"
        remedy = "remove it, and leave the embedding out of lora.modules_to_save"
        yield Finding(("model", "freeze_embedding"), what, remedy)


def _has_adapters(config: SweepConfig, fixed: Mapping[str, Value | None]) -> bool:
    """Tell whether the trials of an arm train adapters."""
    keys = {*config.sweep.space, *fixed}
    return config.model.lora is not None or any(key.startswith("model.lora") for key in keys)


def _params_dtype(config: SweepConfig) -> Iterator[Finding]:
    """Parameters in half precision are computed with in half precision."""
    if getattr(config.strategy, "params_dtype", "float32") == "float32":
        return
    if "float32" in config.values_of("model.dtype"):
        what = "bfloat16 parameters cannot be computed with in float32"
        remedy = "write model.dtype: bfloat16, or params_dtype: float32"
        yield Finding(("strategy", "params_dtype"), what, remedy)


MODEL_CHECKS: dict[Callable[[SweepConfig], Iterator[Finding]], tuple[Path, ...]] = {
    _shards_in_host_memory: (("strategy",), ("workers",)),
    _async_checkpoints: (("training",), ("strategy",)),
    _compile: (("model",), ("strategy",)),
    _quantization: (("model",), ("strategy",), *ARMS),
    _freeze_embedding: (("model",), *ARMS),
    _params_dtype: (("strategy",), ("model",), *ARMS),
}
"""Each rule with the settings that must be sound."""
