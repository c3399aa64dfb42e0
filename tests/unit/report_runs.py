"""Writes run directories for the tests of the report: a journal, a config, report rows."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from neft_ray.config.load import dump_sweep
from neft_ray.config.sweep import SweepConfig
from neft_ray.journal import Journal
from neft_ray.run_directory import RunDirectory

ALPHA, RATE = "noise.alpha", "optimizer.learning_rate"
SPACE = {ALPHA: {"choice": [5, 10]}, RATE: {"loguniform": [1e-4, 1e-2]}}
COUNTS = np.array([10, 20, 30, 40])
PICTURES = {
    *("lift", "surface", "alpha_learning_rate"),
    *("importance", "learning_curves", "early_stopping"),
}
"""The pictures of every report, by the names of their files."""


class SyntheticRun:
    """A run directory that grows trial by trial; close it before the report reads it."""

    def __init__(self, root: Path, **search):
        search = {
            "space": SPACE,
            "control": {ALPHA: 0},
            "num_trials": 2,
            "scheduler": {"kind": "asha", "grace_steps": 10, "eta": 2},
            "finalists": {"num": 1, "seeds": [1, 2, 3]},
        } | search
        self.config = config = SweepConfig.model_validate_json(_json(search))
        root.mkdir(parents=True)
        self.run = RunDirectory(root)
        self.run.write_manifest({"neft_ray_version": "0.1.0", "versions": {"torch": "2.13.0"}})
        self.run.config_file.write_text(dump_sweep(config))
        self.journal = Journal(self.run.journal_file)
        self.num_trials = 0

    def trial(
        self,
        arm: str = "treatment",
        alpha: float | None = 5,
        rate: float | None = 1e-3,
        select: Mapping[int, float] | Sequence[float] = (4.0, 3.5, 3.6, 3.7),
        status: str | None = "completed",
        reason: str = "",
        seed: int = 0,
        rows: Mapping[int, float] | None = None,
        crashes: Sequence[str] = (),
        extra: Mapping[str, object] | None = None,
        answers: Mapping[str, float] | None = None,
    ) -> int:
        """Add a trial of 40 steps, evaluated every 10; `rows` makes it a finalist.

        `rows` gives the report loss per token at a step, `answers` what was measured on answers at
        the last. Status None: still running.
        """
        number, self.num_trials = self.num_trials, self.num_trials + 1
        fixed = self.config.sweep.arms[arm]
        values = {} if alpha is None or ALPHA in fixed else {ALPHA: alpha}
        values |= ({} if rate is None else {RATE: rate}) | dict(extra or {})
        phase = "search" if rows is None else "finalist"
        self.journal.append(
            "suggest", trial=number, arm=arm, phase=phase, values=values, seed=seed, num_steps=40
        )  # fmt: skip
        for crash in crashes:
            self.journal.append("crash", trial=number, reason=crash)
        losses = select if isinstance(select, Mapping) else _by_step(select)
        for step, loss in losses.items():
            metrics = {"select_loss": loss, "train_eval_loss": loss - 0.1 * step / 10}
            if rows and step in rows:
                metrics["report_loss"] = rows[step]
                self.save_rows(number, step, rows[step] * COUNTS)
            if answers and step == max(losses):
                metrics |= answers
            is_last = status == "stopped" and step == max(losses)
            decision = "stop" if is_last else "continue"
            self.journal.append(
                "report", trial=number, step=step, metrics=metrics, decision=decision
            )
        if status not in (None, "stopped"):
            self.journal.append("end", trial=number, status=status, reason=reason)
        return number

    def save_rows(self, number: int, step: int, losses: np.ndarray, ids=None, counts=COUNTS):
        """Write a finalist's report rows as a worker does."""
        folder = self.run.trial(number) / "report_rows"
        folder.mkdir(parents=True, exist_ok=True)
        ids = np.arange(len(losses)) if ids is None else ids
        np.savez(folder / f"step-{step:06d}.npz", sample_ids=ids, losses=losses, counts=counts)

    def cut(self, arm="treatment", reason="", **of):
        """Add a trial that was ended with a reason, as a rule or a check of its health does."""
        number = self.trial(arm, status=None, **of)
        self.journal.append("cut", trial=number, reason=reason)
        return number

    def pair(self, seed: int, treatment: Mapping[int, float], control: Mapping[int, float], **of):
        """Add a finalist of each arm on one seed."""
        self.trial("treatment", seed=seed, rows=treatment, **of)
        self.trial("control", seed=seed, rows=control, **of)

    def done(self, finished: bool = False) -> RunDirectory:
        """Close the journal, of a run that has come to its end or not."""
        if finished:
            self.journal.append("finish")
        self.journal.close()
        return self.run


CONTROLS = {"dropout": {ALPHA: 0, "model.embedding_dropout": 0.1}}


def run_with_controls(root: Path) -> RunDirectory:
    """A finished run in which noise beats the control, and dropout is as good as noise."""
    synthetic = SyntheticRun(root, controls=CONTROLS)
    for arm in ("treatment", "control", "dropout"):
        synthetic.trial(arm)
        synthetic.trial(arm, alpha=10, rate=4e-3, select=(4.5,), status="stopped")
    for seed in (1, 2, 3):
        wobble = 0.002 * (-1) ** seed
        words = {"answer_words": 20.0 + seed, "answer_repetition": 0.02}
        longer = words | {"answer_words": 30.0 + 1.1 * seed}
        at = {20: 3.2 + wobble, 40: 3.3 + wobble}
        synthetic.trial("treatment", seed=seed, rows=at, answers=longer)
        synthetic.trial("control", seed=seed, rows={20: 3.4, 40: 3.5}, answers=words)
        synthetic.trial("dropout", seed=seed, rows={20: 3.2, 40: 3.3}, answers=words)
    return synthetic.done(finished=True)


def small_run(root: Path, num_pairs: int = 3, finished: bool = True, **search) -> RunDirectory:
    """A finished run in which noise helps by 0.2 at the end and by nothing at best."""
    synthetic = SyntheticRun(root, **search)
    for arm in ("treatment", "control"):
        synthetic.trial(arm)
        synthetic.trial(arm, alpha=10, rate=4e-3, select=(4.5,), status="stopped")
    for seed in range(1, num_pairs + 1):
        wobble = 0.002 * (-1) ** seed
        synthetic.pair(seed, {20: 3.2, 40: 3.3 + wobble}, {20: 3.2, 40: 3.5})
    return synthetic.done(finished)


def _by_step(losses: Sequence[float]) -> dict[int, float]:
    return {10 * n: loss for n, loss in enumerate(losses, start=1)}


def _json(search: Mapping[str, object]) -> str:
    sections = {
        "name": "synthetic",
        "model": {"path": "builtin:base"},
        "data": {"train": "builtin:tales"},
        "training": {"eval_every_steps": 10},
        "sweep": search,
    }
    return json.dumps(sections)
