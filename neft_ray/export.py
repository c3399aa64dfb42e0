"""Exports a trial's checkpoint as an ordinary Hugging Face folder with a model card."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError

from neft_ray import __version__
from neft_ray.config.trial import NoiseConfig, TrialConfig
from neft_ray.errors import UserError, bad_input
from neft_ray.journal import TrialRecord
from neft_ray.lora import merged
from neft_ray.model import dequantized, load_model, load_tokenizer
from neft_ray.run_directory import RunDirectory, trial_name
from neft_ray.strategy.models import with_trained_parts
from neft_ray.strategy.registry import strategy_of
from neft_ray.train import stored
from neft_ray.train.contents import altered, damage


def export_trial(
    run: RunDirectory,
    record: TrialRecord,
    config: TrialConfig,
    target: Path,
    remark: str,
    adapter: bool = False,
) -> int:
    """Write the best checkpoint that is left of a trial as a Hugging Face folder.

    Whatever the strategy, one process reads the checkpoint into a whole model.

    Args:
        run: Where the trial lies.
        record: The trial.
        config: Its configuration.
        target: A folder that is empty or does not exist; filled all or nothing.
        remark: What the model card says of the lift.
        adapter: Write a LoRA adapter alone; otherwise it is merged into the model.

    Returns:
        The exported checkpoint's step.

    Raises:
        UserError: If no checkpoint is left, the target is taken or cannot be written, or there is
            no adapter.
    """
    if adapter and config.model.lora is None:
        what = f"{trial_name(record.number)} has no adapter: the whole model was trained"
        raise bad_input("--adapter", what, "leave out --adapter")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise bad_input(target, "is not an empty folder", "choose a new folder")
    step = exported_step(run, record)
    folder = stored.fetched(run.checkpoints(record.number), step)
    model = _tuned_model(folder, config, adapter)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(
            prefix=f".{target.name}-", dir=target.parent, ignore_cleanup_errors=True
        ) as temporary:
            partial = Path(temporary)
            model.save_pretrained(partial)
            load_tokenizer(config.model).save_pretrained(partial)
            card = _card(run, record, config, step, remark, adapter)
            (partial / "README.md").write_text(card, encoding="utf-8")
            partial.chmod(0o755)
            partial.rename(target)
    except (OSError, SafetensorError) as error:
        remedy = "free space, or choose another folder"
        raise bad_input(target, f"cannot be written: {error}", remedy) from error
    return step


def _tuned_model(folder: Path, config: TrialConfig, adapter: bool) -> Any:
    if problem := damage(folder, config.config_hash) or altered(folder):
        raise UserError([problem])
    # In 4 bits there is no adding to weights; in float32 the sum is what was trained.
    model = with_trained_parts(dequantized(load_model(config.model)), config)
    strategy_of(config.strategy.kind).read_weights(folder, model)
    if config.model.lora is not None and not adapter:
        model = merged(model)
    model.config.use_cache = True
    return model.to(getattr(torch, config.model.dtype))


def exported_step(run: RunDirectory, record: TrialRecord) -> int:
    """Return the step with the lowest select loss among the checkpoints that are left.

    Raises:
        UserError: If none is left.
    """
    left = set(stored.steps_in(run.checkpoints(record.number)))
    reports = [
        report
        for report in record.reports
        if report.step in left and math.isfinite(report.metrics["select_loss"])
    ]
    if not reports:
        name = trial_name(record.number)
        what = f"no checkpoint of {name} is left: a sweep keeps the best few of all trials"
        remedy = "add --rebuild to train it again, or raise sweep.keep_checkpoints"
        raise bad_input(run.trial(record.number), what, remedy)
    return min(reports, key=lambda report: report.metrics["select_loss"]).step


def _card(
    run: RunDirectory,
    record: TrialRecord,
    config: TrialConfig,
    step: int,
    remark: str,
    adapter: bool,
) -> str:
    loss = next(r.metrics["select_loss"] for r in record.reports if r.step == step)
    values = "\n".join(f"* {key}: {value}" for key, value in sorted(record.values.items()))
    noise, lora = config.noise, config.model.lora
    usual = NoiseConfig(alpha=noise.alpha).model_dump()
    settings = "".join(
        f"; {key}: {value}" for key, value in noise.model_dump().items() if value != usual[key]
    )
    trained = "the whole model"
    if lora is not None:
        form = "this is the adapter" if adapter else "merged into the model"
        base = "" if config.model.quantization is None else " on 4-bit weights (NF4)"
        trained = f"LoRA of rank {lora.rank}, alpha {lora.alpha:g}{base}; {form}"
    elif config.model.freeze_embedding:
        trained = "all but the input embedding"
    return f"""---
library_name: {"peft" if adapter else "transformers"}
base_model: {config.model.path}
tags: [neftune, neft-ray]
---
# {run.name}, {trial_name(record.number)}, step {step}

`{config.model.path}` fine-tuned with neft_ray {__version__}.

* α (NEFTune): **{noise.alpha:g}**{settings}
* learning rate: {config.optimizer.learning_rate:g}
* trained: {trained}; strategy {config.strategy.kind}, {config.workers.num} worker(s)
* data: `{config.data.train}`, template `{config.data.template}`, seed {record.seed}
* step {step} of {record.num_steps}, held-out loss {loss:.4f} nats per token

Searched values:

{values or "* none"}

{remark}
"""
