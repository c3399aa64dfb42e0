"""The conductor: which trial comes next, which one stops, when the sweep is over.

It knows nothing of Ray. All it decides is written to the journal first and then applied, and
opening a journal applies it again: a sweep goes on where its last event left it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from neft_ray.config.sweep import SweepConfig
from neft_ray.config.trial import TrialConfig
from neft_ray.errors import bad_input
from neft_ray.journal import (
    COMPLETED,
    CONTINUE,
    RUNNING,
    STOP,
    STOPPED,
    Event,
    Journal,
    Phase,
    TrialRecord,
    apply,
    read_events,
)
from neft_ray.run_directory import RunDirectory
from neft_ray.sweep.propose import Proposer, build_proposer
from neft_ray.sweep.rules import Rule, build_rule


@dataclass(frozen=True)
class Arm:
    """One side of the comparison, with a searcher and rungs of its own."""

    name: str
    fixed: Mapping[str, Any]
    proposer: Proposer
    rule: Rule


class Conductor:
    """Decides, journals, and remembers.

    Attributes:
        records: All trials by number.
    """

    def __init__(
        self, config: SweepConfig, run: RunDirectory, num_steps: Callable[[TrialConfig], int]
    ) -> None:
        """Open the run's journal and take up where it ends.

        Args:
            config: The sweep.
            run: Where the journal lies.
            num_steps: Optimizer steps of a whole trial with the given configuration.

        Raises:
            UserError: If the journal is damaged, or its decisions are not those of this version.
        """
        self._config, self._num_steps = config, num_steps
        self.records: dict[int, TrialRecord] = {}
        longest = num_steps(config.trial)
        self.arms = {
            name: Arm(
                name,
                fixed,
                build_proposer(config, name, longest),
                build_rule(config.sweep.scheduler, longest),
            )
            for name, fixed in config.sweep.arms.items()
        }
        self._has_finished = False
        for event in read_events(run.journal_file):
            self._replay(event, run)
            self._has_finished |= event["event"] == "finish"
        self._interrupted = [r.number for r in self.records.values() if r.status == RUNNING]
        self._journal = Journal(run.journal_file)

    def trial_config(self, record: TrialRecord) -> TrialConfig:
        """Return the whole configuration of a trial."""
        return self._with(record.arm, record.values, record.seed)

    def next_trial(self) -> TrialRecord | None:
        """Return the trial to start now; None while others must finish first.

        Trials interrupted by the last driver's end come before new ones.
        """
        if self._interrupted:
            return self.records[self._interrupted.pop(0)]
        open_arms = [arm for arm in self.arms.values() if self._wants_trial(arm)]
        if open_arms:
            arm = max(open_arms, key=self._num_left)
            history = self._of(arm.name, "search")
            seed = self._config.training.seed
            return self._suggest(arm.name, "search", arm.proposer.propose(history), seed)
        return self._next_finalist()

    @property
    def is_finished(self) -> bool:
        """Whether every trial there will be has ended."""
        running = any(record.status == RUNNING for record in self.records.values())
        return not (running or self._is_searching or self._missing_finalists())

    @property
    def _is_searching(self) -> bool:
        searched = [r for r in self.records.values() if r.phase == "search"]
        wanted = any(self._wants_trial(arm) for arm in self.arms.values())
        return wanted or any(r.status == RUNNING for r in searched)

    def report(self, number: int, step: int, metrics: Mapping[str, float]) -> bool:
        """Enter a report and return whether the trial stops here.

        A step reported before, as after a resume, changes nothing and gets the same answer.
        """
        record = self.records[number]
        for earlier in record.reports:
            if earlier.step == step:
                return earlier.decision == STOP
        decision = self._decide(record, step, metrics)
        self._write("report", trial=number, step=step, metrics=dict(metrics), decision=decision)
        return decision == STOP

    def crash(self, number: int, reason: str) -> None:
        """Note that a trial's processes died; it goes on from its checkpoint."""
        self._write("crash", trial=number, reason=reason)

    def end(self, number: int, status: str, reason: str = "") -> None:
        """Note that a trial ended.

        A stop needs no entry: either a decision in the journal caused it, or the driver is
        leaving and the trial is to go on later.
        """
        if self.records[number].status == RUNNING and status != STOPPED:
            self._write("end", trial=number, status=status, reason=reason)

    def finish(self) -> None:
        """Note that the sweep has come to its end; once."""
        if not self._has_finished:
            self._write("finish")
            self._has_finished = True

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def best_trial(self) -> TrialRecord | None:
        """Return the trial with the lowest objective so far, of all arms and phases."""
        at = self._config.sweep.objective.at
        best = min(self.records.values(), key=lambda r: (r.objective(at), r.number), default=None)
        return best if best and math.isfinite(best.objective(at)) else None

    def _with(self, arm: str, values: Mapping[str, Any], seed: int) -> TrialConfig:
        fixed = self.arms[arm].fixed
        return self._config.trial.with_values({**values, **fixed, "training.seed": seed})

    def _of(self, arm: str, phase: Phase) -> list[TrialRecord]:
        return [r for r in self.records.values() if r.arm == arm and r.phase == phase]

    def _num_left(self, arm: Arm) -> int:
        return arm.proposer.num_trials - len(self._of(arm.name, "search"))

    def _wants_trial(self, arm: Arm) -> bool:
        """Whether an arm has trials left, or has spent at least a whole trial less than another.

        Rungs cut one arm earlier than the other by the luck of the order in which trials arrive.
        Further trials make the arms equal in optimizer steps, which is what tuning costs.
        """
        if self._num_left(arm) > 0:
            return True
        if not arm.proposer.can_go_on or -self._num_left(arm) >= arm.proposer.num_trials:
            return False
        mine = self._of(arm.name, "search")
        committed = sum(r.num_steps if r.status == RUNNING else r.last_step for r in mine)
        spent = [sum(r.last_step for r in self._of(name, "search")) for name in self.arms]
        return committed + max(r.num_steps for r in mine) <= max(spent)

    def _next_finalist(self) -> TrialRecord | None:
        missing = [] if self._is_searching else self._missing_finalists()
        return self._suggest(missing[0][0], "finalist", *missing[0][1:]) if missing else None

    def _missing_finalists(self) -> list[tuple[str, Mapping[str, Any], int]]:
        """Finalists not yet suggested: (arm, values, seed), seed by seed across the arms."""
        finalists = self._config.sweep.finalists
        at = self._config.sweep.objective.at
        chosen: list[tuple[str, Mapping[str, Any]]] = []
        for arm in self.arms:
            ranked = sorted(
                self._of(arm, "search"),
                key=lambda r: (r.status != COMPLETED, r.objective(at), r.number),
            )
            distinct: list[Mapping[str, Any]] = []
            for record in ranked:
                if math.isfinite(record.objective(at)) and record.values not in distinct:
                    distinct.append(record.values)
            chosen += [(arm, values) for values in distinct[: finalists.num]]
        there = [(r.arm, r.values, r.seed) for r in self.records.values() if r.phase == "finalist"]
        wanted = [(arm, values, seed) for seed in finalists.seeds for arm, values in chosen]
        return [entry for entry in wanted if entry not in there]

    def _suggest(self, arm: str, phase: Phase, values: Mapping[str, Any], seed: int) -> TrialRecord:
        config = self._with(arm, values, seed)
        number = len(self.records)
        self._write(
            "suggest",
            trial=number,
            arm=arm,
            phase=phase,
            values=dict(values),
            seed=seed,
            num_steps=self._num_steps(config),
            config_hash=config.config_hash,
        )
        return self.records[number]

    def _decide(self, record: TrialRecord, step: int, metrics: Mapping[str, float]) -> str:
        loss = metrics["select_loss"]
        if record.phase == "finalist" or not math.isfinite(loss):
            return CONTINUE
        stops = self.arms[record.arm].rule.stops(record.number, step, loss)
        return STOP if stops and step < record.num_steps else CONTINUE

    def _write(self, event: str, **fields: Any) -> None:
        apply(self.records, self._journal.append(event, **fields))

    def _replay(self, event: Event, run: RunDirectory) -> None:
        if event["event"] == "report":
            record = self.records[event["trial"]]
            decision = self._decide(record, event["step"], event["metrics"])
            if decision != event["decision"]:
                what = (
                    f"trial {record.number} got '{event['decision']}' at step {event['step']}, "
                    f"this version decides '{decision}'"
                )
                remedy = "resume with the versions named in manifest.json"
                raise bad_input(run.journal_file, what, remedy)
        apply(self.records, event)
