"""Strategies: how one trial's model, gradients and optimizer are spread over its workers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from neft_ray.config.base import Name, Section, broken_rule

ParamsDtype = Literal["float32", "bfloat16"]
Offload = Literal["none", "cpu", "nvme"]


class DdpConfig(Section):
    """Distributed data parallel: a whole copy of the model on every worker."""

    kind: Literal["ddp"] = "ddp"


class FsdpConfig(Section):
    """Fully sharded data parallel (FSDP2): parameters, gradients and optimizer in shards."""

    kind: Literal["fsdp"] = "fsdp"
    reshard_after_forward: bool = True
    """Free a layer's gathered parameters between forward and backward: less memory, gathered
    twice."""
    cpu_offload: bool = False
    """Keep shards, gradients and optimizer in the host's memory. Needs GPUs to be of use."""
    params_dtype: ParamsDtype = "float32"
    """What forward and backward see of the parameters; the optimizer keeps float32 ones. With
    `model.dtype: bfloat16`, `float32` is autocast, whose curves compare across strategies;
    `bfloat16` halves the communication and is another recipe: its curves do not."""


class DeepspeedConfig(Section):
    """DeepSpeed ZeRO (Rajbhandari et al., arXiv 1910.02054), with torch's AdamW."""

    kind: Literal["deepspeed"] = "deepspeed"
    zero_stage: Annotated[int, Field(ge=1, le=3)] = 2
    """What is sharded: 1 the optimizer, 2 gradients too, 3 parameters too."""
    offload_optimizer: Offload = "none"
    """Where the optimizer's shards live when they are not needed."""
    offload_params: Offload = "none"
    """Where the parameters' shards live when they are not needed. Stage 3 only."""
    nvme_folder: Name | None = None
    """A folder on a fast local disk of every node, for what is offloaded to `nvme`."""
    params_dtype: ParamsDtype = "float32"
    """What forward and backward see of the parameters; the optimizer keeps float32 ones. With
    `model.dtype: bfloat16`, `float32` is autocast, whose curves compare across strategies;
    `bfloat16` halves the communication and is another recipe: its curves do not."""

    @field_validator("offload_optimizer", mode="after")
    @classmethod
    def _moments_on_disk(cls, value: Offload, info: ValidationInfo) -> Offload:
        if value == "nvme" and info.data.get("zero_stage", 3) != 3:
            raise broken_rule("nvme is for stage 3", "write zero_stage: 3, or offload to cpu")
        return value

    @field_validator("offload_params", mode="after")
    @classmethod
    def _sharded_params(cls, value: Offload, info: ValidationInfo) -> Offload:
        if value != "none" and info.data.get("zero_stage", 3) != 3:
            what = f"stage {info.data['zero_stage']} keeps whole parameters on every worker"
            raise broken_rule(what, "write zero_stage: 3, or offload_params: none")
        return value

    @field_validator("nvme_folder", mode="after")
    @classmethod
    def _place_on_disk(cls, value: str | None, info: ValidationInfo) -> str | None:
        offloads = [info.data.get("offload_optimizer"), info.data.get("offload_params")]
        if None in offloads:
            return value
        if "nvme" in offloads and value is None:
            remedy = "name a folder on a fast local disk of every node"
            raise broken_rule("missing, and something is offloaded to nvme", remedy)
        if "nvme" not in offloads and value is not None:
            raise broken_rule("nothing is offloaded to nvme", "remove it, or offload to nvme")
        return value


StrategyConfig = Annotated[DdpConfig | FsdpConfig | DeepspeedConfig, Field(discriminator="kind")]
