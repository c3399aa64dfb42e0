"""What an evaluation or a chat is given: a run's best model, one of its trials, or a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neft_ray.choice import best_record
from neft_ray.config.load import load_sweep
from neft_ray.config.sweep import CONTROL, TREATMENT
from neft_ray.config.trial import ModelConfig
from neft_ray.errors import bad_input
from neft_ray.export import export_trial, exported_step
from neft_ray.journal import TrialRecord, read_records
from neft_ray.model import load_tokenizer
from neft_ray.pipeline.publish import published_report, published_trial
from neft_ray.pipeline.rebuild import rebuild_trial
from neft_ray.run_directory import RunDirectory, find_run, trial_name
from neft_ray.train.stored import folder_of, steps_in

BEST = "best"
ARMS = (TREATMENT, CONTROL)
MODELS = "models"
"""The folder, in a run, of trials that were exported to be asked something."""


@dataclass(frozen=True)
class Side:
    """A model that can be asked."""

    label: str
    """Such as `quickstart-20261127-101500-t007`; the name of a model's folder, or on the hub."""
    model: ModelConfig
    template: str
    run: RunDirectory | None = None
    trial: TrialRecord | None = None
    """Of that run."""
    step: int | None = None
    """Of that trial: a trial that goes on has other weights later."""

    @property
    def other_arm(self) -> str | None:
        """A reference to the best trial of the control arm; of the treatment, if it is a control.

        None where its run has no such trial, or it is of no run.
        """
        if self.run is None or self.trial is None:
            return None
        other = TREATMENT if self.trial.arm == CONTROL else CONTROL
        records = read_records(self.run.journal_file).values()
        has_other = any(record.arm == other and record.best is not None for record in records)
        return f"{self.run.root}:{other}" if has_other else None

    @property
    def short(self) -> str:
        """The trial's name within its run; the label where it is none."""
        return self.label if self.trial is None else trial_name(self.trial.number)

    @property
    def title(self) -> str:
        """The trial with α and learning rate; the label where it is none."""
        if self.run is None or self.trial is None:
            return self.label
        config = self.run.trial_config(self.trial.number)
        alpha, rate = config.noise.alpha, config.optimizer.learning_rate
        return f"{trial_name(self.trial.number)}, α {alpha:g}, learning rate {rate:.2g}"


def find_side(
    reference: str,
    storage: Path,
    template: str | None = None,
    rebuild: bool = False,
    address: str | None = None,
) -> Side:
    """Return the model that a reference means.

    Args:
        reference: A run or `RUN:TRIAL`, where TRIAL is such as t007, `best` (by default), or an
            arm, whose best trial is meant; a Hugging Face folder; a hub name.
        storage: The folder that holds the runs.
        template: Instead of the one that the model was tuned with.
        rebuild: Train a trial again whose checkpoints are gone.
        address: The cluster to train it on, see `sweep/address.py`.

    Raises:
        UserError: If there is nothing of that name, or nothing is left of the trial.
    """
    path = Path(reference).expanduser()
    if (path / "config.json").is_file():
        return _of_model(str(path.resolve()), path.resolve().name, template)
    name, trial = _run_and_trial(reference)
    is_hub_name = reference.count("/") == 1 and not path.exists() and not trial
    if reference.startswith("builtin:") or (is_hub_name and not (storage / reference).exists()):
        return _of_model(reference, reference.replace("/", "--").replace(":", "-"), template)
    run = find_run(name, storage)
    record = _record(run, trial or BEST)
    if rebuild and not _is_left(run, record):
        rebuild_trial(run, record, address)
    return _of_trial(run, record, template)


def _run_and_trial(reference: str) -> tuple[str, str]:
    """Split `RUN:TRIAL`; a run's folder, or its address in a bucket, may have colons too."""
    name, _, trial = reference.rpartition(":")
    return (name, trial) if name and "/" not in trial else (reference, "")


def _of_model(path: str, label: str, template: str | None) -> Side:
    model = ModelConfig(path=path)
    if template is None and load_tokenizer(model).chat_template is None:
        what = "its tokenizer has no chat template"
        remedy = "say how it was tuned: --set template=… with evaluate, --template with chat"
        raise bad_input(path, what, remedy)
    return Side(label, model, template or "chat")


def _of_trial(run: RunDirectory, record: TrialRecord, template: str | None) -> Side:
    config = run.trial_config(record.number)
    if _is_published(run, record) and (report := published_report(run, record)) is not None:
        folder, step = run.best_model, report.step
    else:
        folder, step = model_of(run, record)
    model = ModelConfig(path=str(folder), dtype=config.model.dtype)
    label = f"{run.name}-{trial_name(record.number)}"
    return Side(label, model, template or config.data.template, run, record, step)


def model_of(run: RunDirectory, record: TrialRecord) -> tuple[Path, int]:
    """Return a trial's model as a Hugging Face folder within its run, and its step.

    Exported now if need be. Where no checkpoint is left, what was exported last.

    Raises:
        UserError: If no checkpoint of it is left, or it cannot be written.
    """
    made = _exported(run, record)
    if made and not steps_in(run.checkpoints(record.number)):
        return made[-1], int(made[-1].name.removeprefix("step-"))
    step = exported_step(run, record)
    folder = folder_of(run.root / MODELS / trial_name(record.number), step)
    if not folder.exists():
        config = run.trial_config(record.number)
        export_trial(run, record, config, folder, f"Exported from {run.name}.")
    return folder, step


def _is_published(run: RunDirectory, record: TrialRecord) -> bool:
    return published_trial(run) == trial_name(record.number)


def _exported(run: RunDirectory, record: TrialRecord) -> list[Path]:
    """Return the folders to which a trial was exported before, by step."""
    return sorted((run.root / MODELS / trial_name(record.number)).glob("step-*"))


def _is_left(run: RunDirectory, record: TrialRecord) -> bool:
    """Tell whether anything is left of a trial's weights."""
    kept = _exported(run, record) or steps_in(run.checkpoints(record.number))
    return bool(kept) or _is_published(run, record)


def record_of(run: RunDirectory, trial: str) -> TrialRecord:
    """Return a trial by its name, such as t007.

    Raises:
        UserError: If the run has none of that name.
    """
    records = read_records(run.journal_file)
    for record in records.values():
        if trial_name(record.number) == trial:
            return record
    last = trial_name(len(records) - 1) if records else "none"
    raise bad_input(run.root, f"has no trial {trial}", f"its trials are t000 to {last}")


def _record(run: RunDirectory, which: str) -> TrialRecord:
    if which == BEST:
        which = published_trial(run) or BEST
    if which not in (BEST, *ARMS):
        return record_of(run, which)
    records = list(read_records(run.journal_file).values())
    if which in ARMS:
        records = [record for record in records if record.arm == which]
    found = best_record(records, load_sweep(run.config_file).sweep.objective)
    if found is None:
        remedy = "wait for its first evaluation, or name a trial"
        raise bad_input(run.root, f"has no {which} trial", remedy)
    return found
