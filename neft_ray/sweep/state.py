"""The state of a sweep: everything that follows from its journal, event by event."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from neft_ray.config.arm_space import ArmSpace
from neft_ray.config.schedulers import Paced
from neft_ray.config.sweep import SweepConfig
from neft_ray.config.trial import TrialConfig
from neft_ray.errors import bad_input
from neft_ray.journal import RUNNING, Event, Phase, TrialRecord, apply, read_events, record_of
from neft_ray.sweep.arm import Arm, Judge
from neft_ray.sweep.finalists import Finalist, missing_finalists
from neft_ray.sweep.propose import build_proposer
from neft_ray.sweep.rules import ArmFacts, build_rule
from neft_ray.sweep.rules.base import Branch, Cut, Move, Resume
from neft_ray.sweep.spending import Spending

SEARCH: Phase = "search"
FINALIST: Phase = "finalist"
PHASES = (SEARCH, FINALIST)


class Lengths(Protocol):
    """How long a trial with a given configuration is."""

    def num_steps(self, config: TrialConfig) -> int:
        """Return its optimizer steps."""

    def num_tokens(self, config: TrialConfig) -> int:
        """Return the tokens that it trains on."""


class SweepState:
    """What has happened so far, kept so that no question needs a look at all trials.

    Attributes:
        records: All trials by number.
        arms: All arms by name.
        running: Numbers of the trials that run, or ran when the last driver ended.
        spending: What the sweep has cost.
        ended_early: Why a phase ended before its time, by phase.
        terms: The budget that ended it, and the price.
        num_steps_done: Optimizer steps of all trials, up to their last reports.
        num_events: So far.
        is_whole: Whether the last event said that the sweep is finished.
    """

    def __init__(self, config: SweepConfig, lengths: Lengths) -> None:
        """Begin before the first event."""
        self._search = config.sweep
        self.records: dict[int, TrialRecord] = {}
        self.arms = _build_arms(config, lengths)
        self.running: set[int] = set()
        self.spending = Spending(config.sweep.price)
        self.ended_early: dict[str, str] = {}
        self.terms: Mapping[str, Any] = {}
        self.num_steps_done = self.num_events = 0
        self.is_whole = False
        self._missing: list[Finalist] | None = None

    @property
    def is_searching(self) -> bool:
        """Whether the search has trials that run, that may go on, or that are to come."""
        if any(self.records[number].phase == SEARCH for number in self.running):
            return True
        arms = () if SEARCH in self.ended_early else self.arms.values()
        return any(arm.rule.move() is not None or self.wants_trial(arm) for arm in arms)

    @property
    def is_finished(self) -> bool:
        """Whether every trial there will be has ended."""
        return not (self.running or self.is_searching or self.missing_finalists)

    @property
    def missing_finalists(self) -> list[Finalist]:
        """Finalists not yet suggested, once the search is over; which they are is settled then."""
        if FINALIST in self.ended_early:
            return []
        if self._missing is None:
            self._missing = missing_finalists(self._search, self.arms, self.records.values())
        return self._missing

    @property
    def num_waiting(self) -> int:
        """How many new or paused trials could run now, at most."""
        if not self.is_searching:
            return len(self.missing_finalists)
        arms = () if SEARCH in self.ended_early else self.arms.values()
        wanted = (max(1, arm.num_left) if self.wants_trial(arm) else 0 for arm in arms)
        return sum(wanted) + sum(arm.rule.move() is not None for arm in arms)

    @property
    def num_finalist_steps(self) -> int:
        """Optimizer steps of all finalists there are to be, about."""
        return self.num_finalists * max(arm.longest for arm in self.arms.values())

    @property
    def num_finalists(self) -> int:
        """How many finalists there are to be, at most."""
        finalists = self._search.finalists
        return len(self.arms) * finalists.num * len(finalists.seeds)

    def wants_trial(self, arm: Arm) -> bool:
        """Tell whether an arm is to have another trial."""
        most_spent = max(other.spent_steps for other in self.arms.values())
        return arm.num_left > 0 or arm.may_catch_up(most_spent)

    def decisions(self, event: Event) -> tuple[object, object]:
        """Return what an event that is to be entered has decided, and what would be decided now."""
        if event["event"] == "report":
            record = self.records[event["trial"]]
            arm = self.arms[record.arm]
            now = arm.decide(record, event["step"], event["metrics"])["decision"]
            return event["decision"], now
        if (was := move_of(event)) is not None:
            return was, self.arm_of(event).rule.move()
        return None, None

    def enter(self, event: Event) -> None:
        """Bring everything up to date with an event."""
        kind = event["event"]
        self.num_events += 1
        self.spending.observe(event)
        self.is_whole = kind == "finish"
        if kind in ("end_early", "reopen"):
            self.ended_early = {phase: event["reason"] for phase in event.get("phases", ())}
            self.terms = {name: event[name] for name in ("budget", "price") if name in event}
            self._missing = None
        if kind == "warm_start":
            for name, known in event["priors"].items():
                self.arms[name].priors = [record_of(fields) for fields in known]
        if "trial" not in event:
            return
        before = self.records.get(event["trial"])
        was_running, reached = event["trial"] in self.running, before.last_step if before else 0
        if (move := move_of(event)) is not None:
            self.arm_of(event).rule.made(move)
        apply(self.records, event)
        record = self.records[event["trial"]]
        self._note_status(record)
        if "replaces" in event:
            self._note_status(self.records[event["replaces"]])
        if kind == "report":
            self.num_steps_done += record.last_step - reached
        if record.phase != SEARCH:
            return
        arm = self.arms[record.arm]
        if kind == "suggest":
            arm.added(record)
        elif kind == "report":
            arm.spent_steps += record.last_step - reached
        elif kind == "end" and was_running:
            arm.rule.ended(record)

    def arm_of(self, event: Event) -> Arm:
        """Return the arm of the trial that an event tells of."""
        return self.arms[event["arm"] if "arm" in event else self.records[event["trial"]].arm]

    def _note_status(self, record: TrialRecord) -> None:
        if record.status == RUNNING:
            self.running.add(record.number)
        else:
            self.running.discard(record.number)
        if record.phase == SEARCH:
            self.arms[record.arm].changed(record)


def replayed(config: SweepConfig, journal_file: Path, lengths: Lengths) -> SweepState:
    """Return the state that a journal leads to, no driver being at work.

    Raises:
        UserError: If the journal is damaged, or its decisions are not those of this version.
    """
    state = SweepState(config, lengths)
    for event in read_events(journal_file):
        was, now = state.decisions(event)
        if was != now:
            what = f"trial {event['trial']} got '{was}', this version decides '{now}'"
            remedy = "resume with the versions named in manifest.json"
            raise bad_input(journal_file, what, remedy)
        state.enter(event)
    state.spending.close()
    return state


def move_of(event: Event) -> Move | None:
    """Return the rule's move that an event tells of."""
    match event:
        case {"event": "resume", "trial": trial}:
            return Resume(trial)
        case {"event": "cut", "trial": trial, "reason": reason}:
            return Cut(trial, reason)
        case {"replaces": replaced, "parent": donor, "parent_step": step, "values": values}:
            return Branch(replaced, donor, step, values)
    return None


def _build_arms(config: SweepConfig, lengths: Lengths) -> dict[str, Arm]:
    scheduler, trial = config.sweep.scheduler, config.trial
    in_tokens = isinstance(scheduler, Paced) and scheduler.unit == "tokens"
    length = lengths.num_tokens(trial) if in_tokens else lengths.num_steps(trial)
    seed = getattr(config.sweep.searcher, "seed", 0)
    arms = {}
    for name, fixed in config.sweep.arms.items():
        proposer = build_proposer(config, name, length)
        space = {key: domain for key, domain in config.sweep.space.items() if key not in fixed}
        base = {key: config.base_value(key) for key in space}
        allows = ArmSpace.of(config, name).allows
        facts = ArmFacts(proposer.num_trials, length, space, base, allows, seed)
        rule = build_rule(scheduler, facts)
        arms[name] = Arm(name, fixed, proposer, rule, Judge(config.sweep.health, in_tokens))
    return arms
