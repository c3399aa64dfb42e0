"""A trial: one model, one data set, one set of hyper-parameters, one seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from neft_ray.config.base import (
    Count,
    Fraction,
    Name,
    NonNegative,
    Positive,
    Section,
    Seed,
)
from neft_ray.config.data import DataConfig
from neft_ray.config.lora import LoraConfig
from neft_ray.config.strategy import DdpConfig, StrategyConfig
from neft_ray.config.workers import WorkersConfig


class ModelConfig(Section):
    """Which causal language model is fine-tuned."""

    path: Name
    """A hub name, a local folder, or `builtin:base` (the tiny model that ships with neft_ray)."""
    revision: Name | None = None
    """Branch, tag or commit on the hub."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Only for sources you trust."""
    allow_pickle: bool = False
    """Load `.bin` weights, which can run code when opened. Otherwise safetensors only."""
    activation_checkpointing: bool = False
    """Compute each layer's activations again in backward instead of keeping them: less memory,
    about a third more time, the same numbers."""
    compile: bool = False
    """Compile the layers with torch: the first step takes seconds more, and needs a C++ compiler;
    the others are faster, the numbers the same but for rounding. Not with DeepSpeed."""
    lora: LoraConfig | None = None
    """Train adapters instead of the whole model; null: the whole model."""
    quantization: Literal["nf4"] | None = None
    """Hold the linear layers in 4 bits under the adapters (QLoRA, arXiv 2305.14314): NF4, doubly
    quantised, computed with in `dtype`. Needs `lora`, `strategy: {kind: ddp}` and bitsandbytes:
    `pip install neft-ray[quantize]`."""
    freeze_embedding: bool = False
    """Do not train the input embedding; where it is tied, the output layer neither. Noise is added
    all the same. A control: does noise help because it trains the embedding otherwise?"""
    embedding_dropout: Fraction = 0.0
    """Chance of each entry of a token embedding to be 0 in a training forward, the others scaled
    by 1/(1 − chance). A control: is it NEFTune that helps, or any regulariser?"""

    @property
    def base(self) -> Self:
        """The model that is loaded: without what a trial puts on it."""
        put_on = {"lora": None, "embedding_dropout": 0.0, "compile": False}
        return self.model_copy(update=put_on | {"freeze_embedding": False})


class NoiseConfig(Section):
    """NEFTune: noise of scale α/√(L·d) on the token embeddings of every training sequence."""

    alpha: NonNegative = 0.0
    """The paper's α; 0 switches the noise off. The paper uses 5, 10 and 15."""
    distribution: Literal["uniform", "gaussian", "bernoulli"] = "uniform"
    """What the noise is drawn from, all of variance 1/3, so that α means the same: `uniform` on
    (−1, 1), the paper's; `gaussian`; `bernoulli` ±1/√3, SymNoise's."""
    symmetric: bool = False
    """SymNoise's pairs: every micro-batch is run twice, with +ε and −ε, and the loss is the mean
    of both. A step costs twice as much."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How α falls from its value to 0 over the trial, after the warm-up."""
    warmup_fraction: Fraction = 0.0
    """Share of the trial over which α rises from 0."""
    length: Literal["own", "padded"] = "own"
    """`own`: L is the sequence's own length, as in the paper. `padded`: L is the longest of the
    micro-batch and padding is noised too, as transformers does."""
    relative_to: Literal["absolute", "embedding_rms"] = "absolute"
    """The unit of α. `absolute`: as in the paper, whatever the size of the embeddings.
    `embedding_rms`: the root mean square of the sequence's own embeddings."""

    @property
    def num_copies(self) -> int:
        """How often every micro-batch is run in a step."""
        return 2 if self.symmetric and self.alpha > 0 else 1


class OptimizerConfig(Section):
    """AdamW and its learning-rate schedule."""

    learning_rate: Positive = 5e-5
    weight_decay: NonNegative = 0.0
    """On matrices only; never on biases or norms."""
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: Positive = 1e-8
    warmup_fraction: Fraction = 0.03
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip_norm: Positive | None = 1.0
    """Largest global gradient norm; null switches clipping off."""


class BatchConfig(Section):
    """How an optimizer step is cut into micro-batches. The rows of a step never depend on it."""

    size_examples: Count = 128
    """Rows of one optimizer step, over all workers."""
    micro_tokens: Count = 8192
    """Largest rows × longest length of a micro-batch on one worker; tokens where it is packed."""
    kind: Literal["padded", "bucketed", "packed"] = "bucketed"
    """`padded`: rows in their order. `bucketed`: rows of similar length together. `packed`: rows
    one after another without padding, each of which sees only itself."""


class TrainingConfig(Section):
    """How long, how often evaluated, and from which seed."""

    epochs: Count = 3
    eval_every_steps: Count = 100
    """Evaluate, report and write a checkpoint every so many optimizer steps, and at the end."""
    train_loss_rows: Annotated[int, Field(ge=0)] = 128
    """Size of the fixed sample of training rows whose noise-off loss is evaluated."""
    async_checkpoints: bool = False
    """Write checkpoints while training goes on: it waits only for a copy in the host's memory. An
    evaluation is reported once its checkpoint is complete, so that an early stop comes some steps
    later. Not with DeepSpeed."""
    seed: Seed = 0
    """Fixes initialisation of new parameters, data order and noise."""


class ChangeConfig(Section):
    """Values that a trial goes on with from a step on; what is null stays as it was.

    Population-based training writes these, so that its trials, too, are functions of their
    configuration and seed alone.
    """

    after_step: Count
    alpha: NonNegative | None = None
    learning_rate: Positive | None = None


LIVE_KEYS = {"noise.alpha": "alpha", "optimizer.learning_rate": "learning_rate"}
"""The settings that may change on the way, and their names in a change."""


class TrialConfig(Section):
    """Everything that determines a trial's curve."""

    model: ModelConfig
    data: DataConfig
    noise: NoiseConfig = NoiseConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    batch: BatchConfig = BatchConfig()
    training: TrainingConfig = TrainingConfig()
    strategy: StrategyConfig = DdpConfig()
    workers: WorkersConfig = WorkersConfig()
    changes: tuple[ChangeConfig, ...] = ()
    """Values of α and learning rate that change on the way, by step."""

    def at(self, step: int) -> tuple[NoiseConfig, OptimizerConfig]:
        """Return the noise and optimizer sections as they hold in a step, counted from 1."""
        noise, optimizer = self.noise, self.optimizer
        for change in self.changes:
            if step > change.after_step and change.alpha is not None:
                noise = noise.model_copy(update={"alpha": change.alpha})
            if step > change.after_step and change.learning_rate is not None:
                optimizer = optimizer.model_copy(update={"learning_rate": change.learning_rate})
        return noise, optimizer

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """Return a copy with dotted keys replaced, validated again as a whole.

        Args:
            values: For example `{"noise.alpha": 5.0, "optimizer.learning_rate": 1e-4}`.

        Raises:
            pydantic.ValidationError: If a key is unknown or a value out of bounds.
        """
        raw = self.model_dump(mode="json")
        for key, value in values.items():
            *parents, last = key.split(".")
            section = raw
            for parent in parents:
                if section.get(parent) is None:
                    section[parent] = {}
                section = section[parent]
            section[last] = value
        return type(self).model_validate_json(json.dumps(raw))

    @property
    def canonical_json(self) -> str:
        """The configuration as sorted, compact JSON: equal text means an equal trial."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @property
    def config_hash(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of what determines the curve, as JSON.

        Not among it: `workers`, whose number changes a curve by rounding alone, so that a
        checkpoint of two workers goes on with one; and `training.async_checkpoints`, which changes
        when a file is written and nothing that is in it.
        """
        values = self.model_dump(
            mode="json", exclude={"workers": True, "training": {"async_checkpoints": True}}
        )
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]
