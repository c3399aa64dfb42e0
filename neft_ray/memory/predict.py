"""The memory of a trial's workers: the largest micro-batch, traced once, under any strategy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from neft_ray.config.strategy import DdpConfig, DeepspeedConfig, FsdpConfig, StrategyConfig
from neft_ray.config.trial import TrialConfig
from neft_ray.memory.held import FLOAT, HALF, Held, Setting
from neft_ray.memory.ledgers import moments
from neft_ray.memory.trace import Group, Trace, trace_step

STRATEGIES: dict[str, StrategyConfig] = {
    "ddp": DdpConfig(),
    "fsdp": FsdpConfig(),
    "zero 1": DeepspeedConfig(zero_stage=1),
    "zero 2": DeepspeedConfig(zero_stage=2),
    "zero 3": DeepspeedConfig(zero_stage=3),
}


@dataclass(frozen=True)
class Shape:
    """The largest micro-batch that training can meet, every token of it supervised.

    Attributes:
        rows: Rows.
        tokens: Tokens of each.
        accumulates: Whether a step may need more than one of them on a worker, or runs each twice.
    """

    rows: int
    tokens: int
    accumulates: bool


@dataclass(frozen=True)
class Prediction:
    """What one worker holds at the fullest moment of a step.

    Attributes:
        held: On the worker's device, by kind.
        offloaded: Bytes that the strategy moves to the host (or its disk).
        base: Bytes of the untouched base model, kept on the host for the next trial.
        on_host: Whether the device is the host: a worker without a GPU.
    """

    held: Held
    offloaded: float
    base: float
    on_host: bool

    @property
    def device(self) -> float:
        """Bytes on the worker's device."""
        return self.held.total + (self.host if self.on_host else 0)

    @property
    def host(self) -> float:
        """Bytes on the host beside what is on the device."""
        return self.offloaded + self.base


def largest_micro_batch(config: TrialConfig, longest_tokens: int | None = None) -> Shape:
    """Return the largest micro-batch that training can meet.

    Args:
        config: The trial.
        longest_tokens: The longest row of the data where it is known.
    """
    batch, limit = config.batch, config.data.max_length_tokens
    longest = min(limit, longest_tokens or limit)
    share = -(-batch.size_examples // config.workers.least)
    rows = min(share, -(-batch.micro_tokens // longest))
    tokens = min(longest, max(batch.micro_tokens // rows, 1))
    if batch.micro_tokens < longest:
        rows, tokens = 1, longest
    is_cut = share * longest > batch.micro_tokens and share > 1
    return Shape(rows, tokens, is_cut or config.noise.symmetric)


class Predictor:
    """Predicts one trial under any strategy; each model is traced once.

    Attributes:
        config: The trial.
        shape: What it is predicted for.
    """

    def __init__(self, config: TrialConfig, longest_tokens: int | None = None) -> None:
        self.config = config
        self.shape = largest_micro_batch(config, longest_tokens)
        self._traces: dict[str, Trace] = {}

    def of(self, config: TrialConfig) -> Prediction:
        """Return the prediction for the trial, or a variant of its model and strategy.

        Raises:
            UserError: If the model cannot be traced.
        """
        setting = self._setting(config)
        trace = self._trace(config, setting)
        split = (_split(held, trace, setting) for held in moments(trace, setting))
        held, offloaded = max(split, key=lambda parts: parts[0].total)
        whole = isinstance(config.strategy, DdpConfig) or (
            isinstance(config.strategy, DeepspeedConfig) and config.strategy.zero_stage < 3
        )
        base = FLOAT * (trace.base if whole else 0)
        return Prediction(held, offloaded, base, config.workers.gpus == 0)

    @property
    def sizes(self) -> Group:
        """The parameters of the trial's model with its adapters: all, and those trained.

        Raises:
            UserError: If the model cannot be traced.
        """
        return self._trace(self.config, self._setting(self.config)).total

    def compared(self) -> Iterator[tuple[str, TrialConfig]]:
        """Yield all strategies and stages, with and without checkpointing and adapters."""
        model = self.config.model
        adapters = [None] if model.lora is None else [None, model.lora]
        for lora in adapters:
            for checkpointing in (False, True):
                changed = model.model_copy(
                    update={"lora": lora, "activation_checkpointing": checkpointing}
                )
                for name, strategy in STRATEGIES.items():
                    words = [name, "lora" if lora else "", "checkpointing" if checkpointing else ""]
                    variant = {"model": changed, "strategy": strategy}
                    yield " + ".join(filter(None, words)), self.config.model_copy(update=variant)

    def _setting(self, config: TrialConfig) -> Setting:
        workers = config.workers
        return Setting(
            config.strategy, workers.least, self.shape.accumulates, gloo=workers.gpus == 0
        )

    def _trace(self, config: TrialConfig, setting: Setting) -> Trace:
        dtype = torch.bfloat16 if setting.size == HALF else torch.float32
        key = f"{config.model.model_dump_json()} {dtype}"
        if key not in self._traces:
            self._traces[key] = trace_step(config, (self.shape.rows, self.shape.tokens), dtype)
        return self._traces[key]


def _split(held: Held, trace: Trace, setting: Setting) -> tuple[Held, float]:
    """Return what stays on the device, and the bytes of what the strategy moves off it."""
    strategy = setting.strategy
    moved = {"parameters": False, "optimizer": False}
    if isinstance(strategy, FsdpConfig):
        moved = dict.fromkeys(moved, strategy.cpu_offload)
    if isinstance(strategy, DeepspeedConfig):
        moved["parameters"] = strategy.offload_params != "none"
        moved["optimizer"] = strategy.offload_optimizer != "none"
    sizes = {kind: getattr(held, kind) * moved[kind] for kind in moved}
    # Gradients go where the optimizer is, once they are in shards.
    share = FLOAT * trace.total.trained / setting.world
    sizes["gradients"] = min(held.gradients, share) * moved["optimizer"]
    left = {kind: getattr(held, kind) - size for kind, size in sizes.items()}
    return replace(held, **left), sum(sizes.values())
