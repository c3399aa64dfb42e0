"""Replies of one model to one set: those that are on disk, and the others written now."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neft_ray.config.evaluation import Answering, EvaluationConfig, ReplyConfig
from neft_ray.evaluate import ifeval
from neft_ray.evaluate.measures import measured
from neft_ray.evaluate.record import Record, write_json
from neft_ray.evaluate.sets import EvaluationSet
from neft_ray.generate.replies import Prompt, Reply
from neft_ray.judge import Output, Outputs, write_outputs
from neft_ray.model import resolve_path
from neft_ray.pipeline.sides import Side
from neft_ray.sweep.address import is_here
from neft_ray.sweep.cluster import ray_cluster
from neft_ray.working_copy import place_of

Progress = Callable[[int, int], None]
"""Is told how many of how many replies are there."""
OUTPUTS_FILE, MEASURES_FILE = "outputs.json", "measures.json"


@dataclass(frozen=True)
class Replied:
    """A model's replies to a set, and what was measured on them."""

    title: str
    outputs: Outputs
    measures: dict[str, float]


def replies_of(
    side: Side,
    asked: EvaluationSet,
    config: EvaluationConfig,
    folder: Path,
    address: str | None,
    progress: Progress,
) -> Replied:
    """Return a model's replies; what an earlier call has written is not written again.

    `folder` then holds `replies.jsonl`, `outputs.json` in AlpacaEval's format and `measures.json`.

    Raises:
        UserError: If the model cannot be used, or the folder holds replies of other settings.
    """
    record = Record(folder, _identity(side, asked, config), config.overwrite)
    known = record.replies()
    missing = [prompt for prompt in asked.prompts if prompt.number not in known]
    num, num_known = len(asked.prompts), len(known)
    progress(num_known, num)

    def receive(replies: list[Reply]) -> None:
        record.add(replies)
        known.update({reply.number: reply for reply in replies})
        progress(len(known), num)

    if missing:
        how = ReplyConfig.model_validate(
            {name: getattr(config, name) for name in ReplyConfig.model_fields}
        )
        answering = Answering(model=side.model, template=side.template, replies=how)
        _write(answering, missing, folder, address, receive)
    replies = [known[prompt.number] for prompt in asked.prompts]
    outputs = Outputs(side.label, tuple(_output(asked, reply) for reply in replies))
    write_outputs(folder / OUTPUTS_FILE, outputs)
    measures = measured(replies)
    if asked.kind == "ifeval":
        measures |= ifeval.followed(asked.rows, [reply.texts[0] for reply in replies])
    write_json(folder / MEASURES_FILE, measures)
    return Replied(side.title, outputs, measures)


def _write(
    answering: Answering,
    prompts: list[Prompt],
    folder: Path,
    address: str | None,
    receive: Callable[[list[Reply]], None],
) -> None:
    """Have prompts answered: in this process where one worker of this machine is enough."""
    how = answering.replies
    if how.engine == "vllm":
        from neft_ray.generate.vllm_engine import reply_with_vllm

        reply_with_vllm(answering, prompts, receive)
    elif is_here(address) and how.workers.least == 1:
        from neft_ray.replier import reply_to

        reply_to(answering, prompts, "cuda" if how.workers.gpus else "cpu", receive)
    else:
        from neft_ray.sweep.repliers import replies_of_workers

        path = answering.model.path
        placed = place_of(Path(path).resolve()) if Path(path).is_dir() else path
        there = answering.model_copy(
            update={"model": answering.model.model_copy(update={"path": placed})}
        )
        with ray_cluster(address) as cluster:
            cluster.num_slots(how.workers, None)  # refuses what does not fit
            replies_of_workers(there, prompts, folder / "ray", receive)


def _identity(side: Side, asked: EvaluationSet, config: EvaluationConfig) -> dict[str, Any]:
    """Return what replies depend on, but for rounding."""
    return {
        "set": asked.name,
        "prompts": asked.content_hash,
        "model": side.label,
        "weights": _weights(side),
        "template": side.template,
        "engine": config.engine,
        **config.decoding.model_dump(mode="json"),
    }


def _weights(side: Side) -> str:
    """Return what changes with the weights: of a trial its configuration, else of the files."""
    if side.run is not None and side.trial is not None:
        return f"{side.run.trial_config(side.trial.number).config_hash}, step {side.step}"
    folder = Path(resolve_path(side.model.path))
    if not folder.is_dir():
        return side.model.revision or "newest"
    files = [(file.name, file.stat()) for file in sorted(folder.glob("*.safetensors"))]
    versions = [(name, found.st_size, found.st_mtime_ns) for name, found in files]
    return hashlib.sha256(repr(versions).encode()).hexdigest()[:12]


def _output(asked: EvaluationSet, reply: Reply) -> Output:
    row = asked.rows[reply.number]
    texts = reply.texts
    text = (
        texts[0]
        if len(texts) == 1
        else "\n\n".join(f"[Turn {turn}] {text}" for turn, text in enumerate(texts, start=1))
    )
    part = str(row.get("dataset") or row.get("category") or asked.name)
    return Output(asked.instruction(reply.number), text, part)
