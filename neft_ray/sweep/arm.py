"""An arm of a sweep while it runs: its searcher, its rule, and what it has spent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neft_ray.config.sweep import HealthConfig
from neft_ray.journal import CONTINUE, PAUSED, RUNNING, STOP, TrialRecord
from neft_ray.sweep.health import ailment
from neft_ray.sweep.propose import Proposer
from neft_ray.sweep.rules import Rule


@dataclass(frozen=True)
class Judge:
    """How an arm looks at a report.

    Attributes:
        health: When a trial is stopped for its own sake.
        in_tokens: Whether the rule counts in tokens.
    """

    health: HealthConfig
    in_tokens: bool


class Arm:
    """One side of the comparison.

    Attributes:
        proposed: The trials of its search with values of the proposer, in order; without those
            that went on from another's checkpoint.
        searched: All trials of its search by number.
        priors: Trials of earlier runs that the searcher is told of.
        spent_steps: Optimizer steps of its search so far.
        longest: Optimizer steps of its longest trial.
    """

    def __init__(
        self,
        name: str,
        fixed: Mapping[str, Any],
        proposer: Proposer,
        rule: Rule,
        judge: Judge,
    ) -> None:
        self.name, self.fixed, self.proposer, self.rule = name, fixed, proposer, rule
        self._judge = judge
        self.priors: list[TrialRecord] = []
        self.proposed: list[TrialRecord] = []
        self.searched: dict[int, TrialRecord] = {}
        self.spent_steps = 0
        self._of_status: dict[str, set[int]] = {RUNNING: set(), PAUSED: set()}
        self.longest = 0

    def added(self, record: TrialRecord) -> None:
        """Note a new trial of the search."""
        self.searched[record.number] = record
        self.longest = max(self.longest, record.num_steps)
        if record.parent is None:
            self.proposed.append(record)
        self.rule.added(record)

    def changed(self, record: TrialRecord) -> None:
        """Note that the status of a trial may have changed."""
        for status, numbers in self._of_status.items():
            if record.status == status:
                numbers.add(record.number)
            else:
                numbers.discard(record.number)

    def of_status(self, status: str) -> list[TrialRecord]:
        """Return the running or the paused trials of the search, in order."""
        return [self.searched[number] for number in sorted(self._of_status[status])]

    def decide(
        self, record: TrialRecord, step: int, metrics: Mapping[str, float]
    ) -> dict[str, str]:
        """Return the decision on a report, with status and reason where it is not the rule's."""
        loss = metrics["select_loss"]
        if record.number not in self.searched:
            return {"decision": CONTINUE}
        if step >= record.num_steps or not math.isfinite(loss):
            return {"decision": CONTINUE}
        if (found := ailment(self._judge.health, record, loss)) is not None:
            self.rule.ended(record)
            return {"decision": STOP, "status": found[0], "reason": found[1]}
        place = int(metrics["tokens_trained"]) if self._judge.in_tokens else step
        return {"decision": self.rule.reported(record, place, loss)}

    @property
    def num_left(self) -> int:
        """Trials still to be proposed; below 0 after some that were not planned."""
        return self.proposer.num_left(self.proposed)

    def may_catch_up(self, most_spent: int) -> bool:
        """Tell whether a further trial makes the arms more equal in optimizer steps.

        Rungs cut one arm earlier than the other by the luck of the order in which trials arrive.
        Further trials make the arms equal in optimizer steps, which is what tuning costs.

        Args:
            most_spent: By any arm.
        """
        if not self.rule.takes_more or -self.num_left >= self.proposer.num_trials:
            return False
        if not self.proposer.can_go_on(self.proposed):
            return False
        ahead = sum(r.num_steps - r.last_step for r in self.of_status(RUNNING))
        return self.spent_steps + ahead + self.longest <= most_spent
