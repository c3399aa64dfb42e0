"""The live view of a sweep in the terminal: arms, trials, rungs, best so far, time left."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from neft_ray.choice import best_record
from neft_ray.config.sweep import SweepConfig
from neft_ray.config.trial import LIVE_KEYS, TrialConfig
from neft_ray.cost.pace import Pace
from neft_ray.cost.schedule import seconds_left, slots_of
from neft_ray.cost.text import time_text
from neft_ray.journal import RUNNING, TrialRecord, read_events, read_records
from neft_ray.plan import Plan
from neft_ray.run_directory import RunDirectory, trial_name

RECENT_TRIALS = 12
CHANGES = "changes"
SHORT_NAMES = {"noise.alpha": "α", "optimizer.learning_rate": "lr"}


def describe_values(record: TrialRecord) -> str:
    """Return searched values for a person, such as `α=15→18 lr=0.00031`, changed on the way."""
    changes = record.values.get(CHANGES, ())
    parts = []
    for key, value in sorted(record.values.items()):
        if key == CHANGES:
            continue
        name = SHORT_NAMES.get(key, key.rsplit(".", 1)[-1])
        later = [change[LIVE_KEYS[key]] for change in changes if LIVE_KEYS.get(key) in change]
        shown = (f"{v:.3g}" if isinstance(v, float) else f"{v}" for v in (value, *later))
        parts.append(f"{name}={'→'.join(shown)}")
    return " ".join(parts)


def trials_table(records: Iterable[TrialRecord]) -> Table:
    """Return a table with a row per trial."""
    names = ("trial", "arm", "phase", "values", "seed", "step", "loss", "status")
    table = Table(*names, box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for column in table.columns[:-1]:
        column.no_wrap = True
    for record in records:
        best = record.best
        table.add_row(
            trial_name(record.number),
            record.arm,
            record.phase,
            describe_values(record),
            str(record.seed),
            f"{record.last_step}/{record.num_steps}",
            f"{best.metrics['select_loss']:.4f}" if best else "",
            f"{record.status} {record.reason}".strip(),
        )
    return table


class SweepView:
    """Draws the state of a sweep; on a pipe, prints a line per trial instead."""

    def __init__(
        self, console: Console, run: RunDirectory, config: SweepConfig, plan: Plan
    ) -> None:
        self._console, self._run, self._config, self._plan = console, run, config, plan
        self._records: dict[int, TrialRecord] = {}
        self._began = time.monotonic()
        self._pace = Pace()
        self._slots = 0
        """Not known before the first trial starts."""
        self._live: Live | None = None

    def __enter__(self) -> SweepView:
        """Start drawing."""
        self._records = read_records(self._run.journal_file)
        self._pace = Pace(self._records.values())
        self._console.print(f"run      {self._run.root}")
        self._console.print(f"log      {self._run.log_file} (Ray's and our own messages)")
        if self._console.is_terminal:
            self._live = Live(
                self,
                console=self._console,
                refresh_per_second=2,
                redirect_stdout=False,  # that is the log file's
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop drawing."""
        if self._live is not None:
            self._live.stop()

    def started(self, record: TrialRecord, config: TrialConfig, folder: Path) -> None:
        """See `Observer`."""
        self._records[record.number] = record
        if not self._slots:
            self._slots = slots_of(read_events(self._run.journal_file))

    def reported(self, record: TrialRecord) -> None:
        """See `Observer`. The records are the conductor's own, so they are up to date."""
        self._pace.reported(record)

    def ended(self, record: TrialRecord, folder: Path) -> None:
        """See `Observer`."""
        if self._live is None and record.status != RUNNING:
            best = record.best
            loss = f"select loss {best.metrics['select_loss']:.4f}" if best else "no evaluation"
            self._console.print(
                f"{trial_name(record.number)} {record.arm} {record.phase} "
                f"{describe_values(record)} seed={record.seed}: {record.status} at step "
                f"{record.last_step}/{record.num_steps}, {loss}, {self._time_left()}"
            )

    def __rich__(self) -> RenderableType:
        """Return what is drawn now."""
        return Group(self._arms(), self._trials(), self._footer())

    def _all(self) -> list[TrialRecord]:
        """Return the trials as they are: it is drawn in a thread while others start."""
        return list(self._records.values())

    def _arms(self) -> Table:
        table = Table("arm", "phase", "ended", "running", "stopped early", "best select loss")
        for arm, phase, planned in self._plan.groups:
            group = [r for r in self._all() if (r.arm, r.phase) == (arm, phase)]
            ended = sum(r.ended is not None for r in group)
            running = sum(r.status == RUNNING for r in group)
            stopped = sum(r.status == "stopped" for r in group)
            losses = [r.best.metrics["select_loss"] for r in group if r.best]
            table.add_row(
                arm,
                phase,
                f"{ended}/{planned}",
                str(running),
                str(stopped),
                f"{min(losses):.4f}" if losses else "",
            )
        return table

    def _trials(self) -> Table:
        table = Table("trial", "arm", "values", "seed", "step", "rung", "select loss", "status")
        recent = sorted(self._all(), key=lambda r: (r.status != RUNNING, -(r.ended or 0)))
        for record in recent[:RECENT_TRIALS]:
            last = record.reports[-1] if record.reports else None
            passed = sum(step <= record.last_step for step in self._plan.rungs)
            table.add_row(
                trial_name(record.number),
                record.arm if record.phase == "search" else f"{record.arm}, finalist",
                describe_values(record),
                str(record.seed),
                f"{record.last_step}/{record.num_steps}",
                str(passed) if record.phase == "search" and self._plan.rungs else "",
                f"{last.metrics['select_loss']:.4f}" if last else "",
                record.status,
            )
        return table

    def _footer(self) -> Text:
        best = best_record(self._all(), self._config.sweep.objective)
        found = "no evaluation yet"
        if best is not None and best.best is not None:
            loss = best.best.metrics["select_loss"]
            found = f"best so far {trial_name(best.number)}: {loss:.4f} ({describe_values(best)})"
        return Text(f"{found} · {self._time_left()} · Ctrl-C stops; --resume goes on")

    def _time_left(self) -> str:
        """Deal what is left out to the slots, at the speed of the trials so far."""
        so_far = f"{time_text(time.monotonic() - self._began)} so far"
        speed = self._pace.speed()
        if speed is None:
            return so_far
        left = seconds_left(self._plan, self._all(), max(1, self._slots), speed)
        return f"{so_far}, about {time_text(left)} left"
