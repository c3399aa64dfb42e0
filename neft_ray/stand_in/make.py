"""A sweep with a stand-in for its model and data, scaled down to a minute on two cores."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from neft_ray.config.load import parse_sweep
from neft_ray.config.sweep import SweepConfig
from neft_ray.errors import bad_input
from neft_ray.stand_in.data import WRITERS, builtin_rows
from neft_ray.stand_in.families import Family, chats, family_of
from neft_ray.stand_in.model import make_model
from neft_ray.strategy.checks import machine_problems
from neft_ray.system_metrics import num_cores
from neft_ray.working_copy import here

FOLDER = "stand-ins"
"""Below the storage; what is in it is made anew where it is missing."""
NUM_ROWS = 96
MOST = {
    "data.max_length_tokens": 256,
    "batch.size_examples": 8,
    "batch.micro_tokens": 2048,
    "training.epochs": 2,
    "training.eval_every_steps": 4,
    "training.train_loss_rows": 8,
    "sweep.num_trials": 4,
    "sweep.finalists.num": 1,
    "sweep.finalists.generated_rows": 4,
    "sweep.scheduler.grace_steps": 4,
    "sweep.scheduler.grace_tokens": 2000,
    "sweep.scheduler.interval_steps": 4,
    "sweep.searcher.num_startup_trials": 2,
    "workers.cpus": 1,
    "workers.gpus": 0,
}
"""What is larger becomes this."""
PLAIN: dict[str, Any] = {
    "model.revision": None,
    "model.trust_remote_code": False,
    "model.allow_pickle": False,
    "model.compile": False,
    "data.exclude": [],
    "data.max_prompt_tokens": None,
    "data.min_response_tokens": 1,
    "data.max_response_tokens": None,
    "data.max_rows": None,
    "strategy.cpu_offload": False,
    "sweep.warm_start": [],
    "sweep.slots": None,
    "sweep.budget": {"hours": None, "gpu_hours": None, "dollars": None},
    "sweep.price": {"instance": None, "dollars_per_gpu_hour": None, "dollars_per_cpu_hour": None},
    "mlflow": {"uri": None, "experiment": None},
}
"""What has no meaning here becomes this, where it is set."""
LEAST_HELD_OUT = 0.15
"""Share of so few rows."""


@dataclass(frozen=True)
class StandIn:
    """A sweep that can be run without hub, GPU or patience; its results say nothing.

    Attributes:
        config: The sweep, its model and data in the storage folder.
        swaps: What differs from the sweep it stands for, in words.
    """

    config: SweepConfig
    swaps: tuple[str, ...]


class _Swaps:
    """Changes settings by dotted key and notes what changed; keys that are not there stay away."""

    def __init__(self, config: SweepConfig) -> None:
        self.values: dict[str, Any] = config.model_dump(mode="json")
        self.noted: list[str] = []

    def get(self, key: str) -> Any:
        return self._section(key).get(key.rpartition(".")[2])

    def set(self, key: str, value: Any, why: str = "") -> None:
        section, last = self._section(key), key.rpartition(".")[2]
        if last not in section or section[last] == value:
            return
        shown = [_shown(value) for value in (section[last], value)]
        self.noted.append(f"{key}: {' → '.join(shown)}" + f" ({why})" * bool(why))
        section[last] = value

    def _section(self, key: str) -> dict[str, Any]:
        section: Any = self.values
        for word in key.split(".")[:-1]:
            section = section.get(word) or {}
        return section  # type: ignore[no-any-return]


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        value = {key: item for key, item in value.items() if item is not None} or None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def stand_in_for(config: SweepConfig) -> StandIn:
    """Return a sweep that goes through every step of another one, on small things of its kind.

    The strategy, the choices of α, adapters, noise, template and format stay as they are.

    Raises:
        UserError: If no family is known for the model, or models or data are searched.
    """
    _refuse_other_searches(config)
    name, family = family_of(config.model.path)
    folder = _folder(config, family)
    swaps = _Swaps(config)
    swaps.set("name", f"{config.name[:90]}-stand-in")
    swaps.set("model.path", str(folder / "model"), f"{name}, random weights")
    swaps.set("data.train", str(folder / "train.jsonl"), "built-in rows in the same format")
    if config.data.held_out is not None:
        swaps.set("data.held_out", str(folder / "held_out.jsonl"), "likewise")
    for key, value in PLAIN.items():
        swaps.set(key, value)
    for key, most in MOST.items():
        if key in ("sweep.scheduler.grace_steps", "sweep.scheduler.interval_steps"):
            every = swaps.get("training.eval_every_steps")  # where trials can be cut
            most = max(every, most // every * every)
        if (value := swaps.get(key)) is not None and value > most:
            swaps.set(key, most)
    for key in ("data.split.select_fraction", "data.split.report_fraction"):
        swaps.set(key, max(swaps.get(key), LEAST_HELD_OUT))
    swaps.set("sweep.finalists.seeds", list(config.sweep.finalists.seeds[:2]))
    _scale_workers(swaps)
    _scale_epochs(swaps)
    _replace_what_cannot_run(swaps)
    return StandIn(_checked(swaps, config), tuple(swaps.noted))


def _refuse_other_searches(config: SweepConfig) -> None:
    searched = {*config.sweep.space, *(key for arm in config.sweep.arms.values() for key in arm)}
    for key in ("model.path", "data.train", "data.format"):
        if key in searched:
            what, remedy = "a stand-in is one model and one set of rows", "run the arms one by one"
            raise bad_input(f"sweep.space.{key}", what, remedy)


def _scale_workers(swaps: _Swaps) -> None:
    num, cores = swaps.get("workers.num"), min(2, num_cores())
    least, most = (num, num) if isinstance(num, int) else num
    swaps.set("workers.num", min(least, cores) if least == most else [1, min(most, cores)])


def _scale_epochs(swaps: _Swaps) -> None:
    """Keep three lengths of those that are searched."""
    domain = swaps.values["sweep"]["space"].get("training.epochs", {})
    if "choice" in domain and len(domain["choice"]) > 3:
        swaps.noted.append(f"sweep.space.training.epochs: {domain['choice']} → the first three")
        domain["choice"] = domain["choice"][:3]


def _replace_what_cannot_run(swaps: _Swaps) -> None:
    """Do without 4 bits or offloading to a disk where this machine lacks what they need."""
    trial = SweepConfig.model_validate_json(json.dumps(swaps.values)).trial
    for problem in machine_problems(trial):
        if problem.where == "model.quantization":
            swaps.set(problem.where, None, f"{problem.what}: NOT tried here")
        elif problem.where.startswith("strategy.offload"):
            swaps.set(problem.where, "cpu", f"{problem.what}: NOT tried here")
            swaps.set("strategy.nvme_folder", None)


def _checked(swaps: _Swaps, config: SweepConfig) -> SweepConfig:
    return parse_sweep(json.dumps(swaps.values), f"the stand-in for {config.name}")


def _folder(config: SweepConfig, family: Family) -> Path:
    """Return the folder with the small model and the rows, made now if it is not there."""
    data, chat = config.data, chats(family, config.model.path)
    content = repr((family, chat, data.format, NUM_ROWS))
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    folder = here(config.storage).resolve() / FOLDER / f"{family.model_type}-{data.format}-{digest}"
    if folder.exists():
        return folder
    partial = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    try:
        (partial / "model").mkdir(parents=True)
        make_model(family, chat, partial / "model")
        for part in ("train", "held_out"):
            lines = (json.dumps(row, ensure_ascii=False) for row in _rows(data.format, part))
            (partial / f"{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        partial.rename(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not folder.exists():  # another process has made the same meanwhile
            raise bad_input(
                folder, f"cannot be written: {error}", "choose another storage"
            ) from None
    return folder


def _rows(format_name: str, part: str) -> Iterator[Any]:
    return WRITERS[format_name](list(islice(builtin_rows(part), NUM_ROWS)))
