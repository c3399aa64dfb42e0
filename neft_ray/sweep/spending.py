"""What a sweep has spent, by its journal, and whether its budget has come to an end."""

from __future__ import annotations

from dataclasses import dataclass, field

from neft_ray.config.prices import PriceConfig
from neft_ray.config.sweep import BudgetConfig
from neft_ray.journal import Event

SECONDS_PER_HOUR = 3600.0
NOTHING: Event = {"slots": 0, "gpus": 0.0, "cpus": 0.0}


@dataclass
class Spending:
    """Counts the time in which a driver held slots; between two drivers nothing is spent."""

    price: PriceConfig
    seconds: float = 0.0
    """Of earlier drivers, as the rest."""
    slot_seconds: float = 0.0
    gpu_seconds: float = 0.0
    cpu_seconds: float = 0.0
    _opened: Event | None = field(default=None, repr=False)
    _last_time: float = 0.0

    @property
    def held(self) -> tuple[int, float, float]:
        """Slots that have workers now, and their GPUs and cores."""
        opened = self._opened or NOTHING
        return opened["slots"], opened["gpus"], opened["cpus"]

    def observe(self, event: Event) -> None:
        """Take note of an event; `open` says that a driver begins, `hold` with how many slots."""
        if event["event"] == "open":
            self.close()
        elif event["event"] == "hold":
            self._count(event["time"])
        if event["event"] in ("open", "hold"):
            self._opened = NOTHING | event
        self._last_time = event["time"]

    def close(self) -> None:
        """Count the present driver as ended with its last event."""
        self._count(self._last_time)
        self._opened = None

    def amounts(self, now: float) -> dict[str, float]:
        """Return what is spent, by the keys of `sweep.budget`; what has no price is left out.

        Args:
            now: Seconds since the epoch.
        """
        seconds, _, gpu_seconds, cpu_seconds = self._totals(now)
        spent = {
            "hours": seconds / SECONDS_PER_HOUR,
            "gpu_hours": gpu_seconds / SECONDS_PER_HOUR,
        }
        cpu_hours = cpu_seconds / SECONDS_PER_HOUR
        if (dollars := self.price.dollars(spent["gpu_hours"], cpu_hours)) is not None:
            spent["dollars"] = dollars
        return spent

    def exhausted(self, budget: BudgetConfig, now: float, reserve_seconds: float = 0.0) -> str:
        """Return which part of a budget is spent, in words; empty while there is some left.

        Args:
            budget: The `sweep.budget` section.
            now: Seconds since the epoch.
            reserve_seconds: To be kept, at the present number of slots.
        """
        spent, later = self.amounts(now), self.amounts(now + reserve_seconds)
        for name, limit in budget.model_dump().items():
            if limit is not None and later[name] >= limit:
                kept = later[name] - spent[name]
                text = f"the budget of {limit:g} {name.replace('_', ' ')} is spent"
                return text if not kept else f"{text}, but for {kept:.3g} kept for the finalists"
        return ""

    def seconds_of(self, num_steps: int, num_done: int, now: float) -> float:
        """Return how long steps take in all present slots, by those that were done; 0 unknown."""
        if self._opened is None or not num_done:
            return 0.0
        slot_seconds = self._totals(now)[1] * num_steps / num_done
        return slot_seconds / max(1.0, float(self._opened["slots"]))

    def _count(self, until: float) -> None:
        """Add what is spent up to a moment."""
        totals = self._totals(until)
        self.seconds, self.slot_seconds, self.gpu_seconds, self.cpu_seconds = totals

    def _totals(self, now: float) -> tuple[float, float, float, float]:
        opened = self._opened
        if opened is None:
            return self.seconds, self.slot_seconds, self.gpu_seconds, self.cpu_seconds
        lasted = max(0.0, now - opened["time"])
        return (
            self.seconds + lasted,
            self.slot_seconds + lasted * opened["slots"],
            self.gpu_seconds + lasted * opened["gpus"],
            self.cpu_seconds + lasted * opened["cpus"],
        )
