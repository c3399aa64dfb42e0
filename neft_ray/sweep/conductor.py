"""The conductor: which trial comes next, which one stops, when the sweep is over.

It knows nothing of Ray. All it decides is written to the journal first and then applied, and
opening a journal applies it again: a sweep goes on where its last event left it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neft_ray.choice import best_record
from neft_ray.config.sweep import SweepConfig
from neft_ray.config.trial import TrialConfig
from neft_ray.journal import (
    PAUSED,
    RUNNING,
    STOPPED,
    Journal,
    TrialRecord,
)
from neft_ray.run_directory import RunDirectory
from neft_ray.sweep.rules.base import Branch, Cut, Move, Resume
from neft_ray.sweep.search.priors import known_before
from neft_ray.sweep.state import FINALIST, PHASES, SEARCH, Lengths, replayed


class Conductor:
    """Decides, journals, and remembers."""

    def __init__(self, config: SweepConfig, run: RunDirectory, lengths: Lengths) -> None:
        """Open the run's journal and take up where it ends.

        Args:
            config: The sweep.
            run: Where the journal lies.
            lengths: How long trials are.

        Raises:
            UserError: If the journal is damaged, or its decisions are not those of this version.
        """
        self._config, self._run, self._lengths = config, run, lengths
        self._state = replayed(config, run.journal_file, lengths)
        self._interrupted = sorted(self._state.running)
        self._ended: list[TrialRecord] = []
        self._journal = Journal(run.journal_file)
        if config.sweep.warm_start and not self._state.num_events:
            # so that the journal holds all that is known
            self._write("warm_start", **known_before(config, list(self._state.arms)))
        self._terms = {
            "budget": config.sweep.budget.model_dump(),
            "price": config.sweep.price.model_dump(),
        }
        if any(self._terms[name] != was for name, was in self._state.terms.items()):
            self._write("reopen")
        self._settle()

    @property
    def records(self) -> Mapping[int, TrialRecord]:
        """All trials by number."""
        return self._state.records

    @property
    def is_finished(self) -> bool:
        """Whether every trial there will be has ended."""
        return self._state.is_finished

    @property
    def most_at_once(self) -> int:
        """How many trials may ever run at the same time, at most; 1 at least."""
        return max(1, self.num_waiting, self._state.num_finalists)

    @property
    def num_waiting(self) -> int:
        """How many trials could start or go on now, at most."""
        return len(self._interrupted) + self._state.num_waiting

    def trial_config(self, record: TrialRecord) -> TrialConfig:
        """Return the whole configuration of a trial."""
        return self._with(record.arm, record.values, record.seed)

    def next_trial(self) -> TrialRecord | None:
        """Return the trial to start or to go on with now; None while others must finish first.

        Trials that were interrupted come before all others, and paused ones that may go on before
        new ones.
        """
        state = self._state
        if self._interrupted:
            return state.records[self._interrupted.pop(0)]
        arms = [] if SEARCH in state.ended_early else list(state.arms.values())
        for arm in sorted(arms, key=lambda arm: arm.spent_steps):
            if (move := arm.rule.move()) is not None:
                return self._follow(move)
        if open_arms := [arm for arm in arms if state.wants_trial(arm)]:
            arm = max(open_arms, key=lambda arm: arm.num_left)
            values = arm.proposer.propose(arm.proposed, arm.priors)
            return self._suggest(arm.name, SEARCH, values, self._config.training.seed)
        if state.is_searching or not state.missing_finalists:
            return None
        name, finalist_values, seed = state.missing_finalists.pop(0)
        return self._suggest(name, FINALIST, finalist_values, seed)

    def report(self, number: int, step: int, metrics: Mapping[str, float]) -> bool:
        """Enter a report and return whether the trial stops here, for good or for a while.

        A step reported before, as after a resume, changes nothing.
        """
        record = self.records[number]
        if not any(earlier.step == step for earlier in reversed(record.reports)):
            fields = {"trial": number, "step": step, "metrics": dict(metrics)}
            arm = self._state.arms[record.arm]
            self._write("report", **fields, **arm.decide(record, step, metrics))
            self._settle()
        return record.status != RUNNING

    def crash(self, number: int, reason: str) -> None:
        """Note that a trial's processes died; it goes on from its checkpoint."""
        self._write("crash", trial=number, reason=reason)
        self.postpone(number)

    def move(self, number: int, reason: str) -> None:
        """Note that a trial left its machine; it goes on from the step that it left at."""
        self._write("move", trial=number, reason=reason)
        self.postpone(number)

    def postpone(self, number: int) -> None:
        """Let a trial go on, before all others, as soon as there are workers."""
        self._interrupted.append(number)

    def end(self, number: int, status: str, reason: str = "") -> None:
        """Note that a trial's processes are done with it.

        A stop needs no entry: either a decision in the journal caused it, or the driver is
        leaving and the trial is to go on later; unless its phase ends before its time.
        """
        record, ended_early = self.records[number], self._state.ended_early
        if record.status != RUNNING:
            return
        if status != STOPPED:
            self._write("end", trial=number, status=status, reason=reason)
        elif record.phase in ended_early:
            self._write("end", trial=number, status=STOPPED, reason=ended_early[record.phase])
        self._settle()

    def ended(self) -> list[TrialRecord]:
        """Return the trials without workers, paused or interrupted, that ended since last asked."""
        ended, self._ended = self._ended, []
        return ended

    def open(self) -> None:
        """Note that a driver begins."""
        self._write("open")

    def hold(self, slots: int, num_workers: int) -> None:
        """Note how many slots have workers from now on, and how many workers."""
        workers = self._config.workers
        gpus, cpus = num_workers * workers.gpus, float(num_workers * workers.cpus)
        if (slots, gpus, cpus) != self._state.spending.held:
            self._write("hold", slots=slots, gpus=gpus, cpus=cpus)

    def check_budget(self, now: float) -> list[int]:
        """End what the budget no longer pays for; return the trials that are to be stopped.

        Args:
            now: Seconds since the epoch.
        """
        state, budget = self._state, self._config.sweep.budget
        phases, reason = list(PHASES), state.spending.exhausted(budget, now)
        if not reason and state.is_searching:
            reserve = state.spending.seconds_of(state.num_finalist_steps, state.num_steps_done, now)
            phases, reason = [SEARCH], state.spending.exhausted(budget, now, reserve)
        if reason and not state.ended_early.keys() >= set(phases):
            self._write("end_early", phases=phases, reason=reason, **self._terms)
            for number in [n for n in self._interrupted if self.records[n].phase in phases]:
                self._interrupted.remove(number)
                self.end(number, STOPPED)
                self._ended.append(self.records[number])
            self._settle()
        return [n for n in sorted(state.running) if self.records[n].phase in state.ended_early]

    def extend(self, changes: Mapping[str, Any]) -> None:
        """Note that the sweep goes on with other settings than so far, by dotted key."""
        self._write("extend", changes=dict(changes))

    def finish(self) -> None:
        """Note that the sweep has come to its end; once."""
        if not self._state.is_whole:
            self._write("finish")

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def best_trial(self) -> TrialRecord | None:
        """Return the best trial so far, of all arms and phases."""
        return best_record(self.records.values(), self._config.sweep.objective)

    def _with(self, arm: str, values: Mapping[str, Any], seed: int) -> TrialConfig:
        fixed = self._state.arms[arm].fixed
        return self._config.trial.with_values({**values, **fixed, "training.seed": seed})

    def _settle(self) -> None:
        """End the paused trials that are out, and all of them when the search is over."""
        state = self._state
        for arm in state.arms.values():
            while SEARCH not in state.ended_early and isinstance(move := arm.rule.move(), Cut):
                self._follow(move)
        if state.is_searching:
            return
        paused = [record for arm in state.arms.values() for record in arm.of_status(PAUSED)]
        if not paused:
            return
        reason = state.ended_early.get(SEARCH, "paused until the end of the search")
        fields = {"event": "end", "status": STOPPED, "reason": reason}
        for event in self._journal.append_all(fields | {"trial": r.number} for r in paused):
            state.enter(event)
        self._ended += paused

    def _follow(self, move: Move) -> TrialRecord:
        """Make a rule's move and return the trial that goes on, or has ended."""
        if isinstance(move, Branch):
            replaced = self.records[move.replaced]
            self._ended.append(replaced)
            reason = f"trial {len(self.records)} goes on in its place from trial {move.donor}"
            origin = {"parent": move.donor, "parent_step": move.step, "replaces": move.replaced}
            fields = origin | {"reason": reason}
            return self._suggest(replaced.arm, SEARCH, move.values, replaced.seed, **fields)
        if isinstance(move, Resume):
            self._write("resume", trial=move.trial)
        else:
            self._write("cut", trial=move.trial, reason=move.reason)
            self._ended.append(self.records[move.trial])
        return self.records[move.trial]

    def _suggest(
        self, arm: str, phase: str, values: Mapping[str, Any], seed: int, **origin: Any
    ) -> TrialRecord:
        config = self._with(arm, values, seed)
        number = len(self.records)
        fields = {"arm": arm, "phase": phase, "values": dict(values), "seed": seed, **origin}
        length, mark = self._lengths.num_steps(config), config.config_hash
        self._write("suggest", trial=number, num_steps=length, config_hash=mark, **fields)
        return self.records[number]

    def _write(self, event: str, **fields: Any) -> None:
        self._state.enter(self._journal.append(event, **fields))
