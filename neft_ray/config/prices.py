"""What GPU machines cost: list prices of AWS, on demand, Linux, us-east-1, in November 2026.

Spot prices, discounts and other clouds: give `dollars_per_gpu_hour` instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import model_validator

from neft_ray.config.base import NonNegative, Section, broken_rule

InstanceType = Literal[
    "g5.xlarge", "g5.12xlarge", "g5.48xlarge", "p4d.24xlarge", "p4de.24xlarge", "p5.48xlarge"
]


@dataclass(frozen=True)
class Instance:
    """A machine."""

    gpu: str
    num_gpus: int
    dollars_per_hour: float


INSTANCES: dict[InstanceType, Instance] = {
    "g5.xlarge": Instance("A10G 24 GB", 1, 1.006),
    "g5.12xlarge": Instance("A10G 24 GB", 4, 5.672),
    "g5.48xlarge": Instance("A10G 24 GB", 8, 16.288),
    "p4d.24xlarge": Instance("A100 40 GB", 8, 21.957642),
    "p4de.24xlarge": Instance("A100 80 GB", 8, 27.44705),
    "p5.48xlarge": Instance("H100 80 GB", 8, 55.04),
}


class PriceConfig(Section):
    """What the machines cost, for `plan` and for a budget in dollars."""

    instance: InstanceType | None = None
    """A type of machine with a known list price (config/prices.py), which its GPUs share."""
    dollars_per_gpu_hour: NonNegative | None = None
    dollars_per_cpu_hour: NonNegative | None = None
    """Of one core; null where the price of a GPU covers its machine."""

    @model_validator(mode="after")
    def _one_price(self) -> PriceConfig:
        if self.instance is not None and self.dollars_per_gpu_hour is not None:
            raise broken_rule(
                "instance and dollars_per_gpu_hour both give a price", "remove one of them"
            )
        return self

    @property
    def of_a_gpu_hour(self) -> float | None:
        """Dollars, as given or as listed; None where neither is."""
        if self.instance is None:
            return self.dollars_per_gpu_hour
        machine = INSTANCES[self.instance]
        return machine.dollars_per_hour / machine.num_gpus

    def dollars(self, gpu_hours: float, cpu_hours: float) -> float | None:
        """Return what so many hours of a GPU and of a core cost; None without a price."""
        prices = (self.of_a_gpu_hour, self.dollars_per_cpu_hour)
        if prices == (None, None):
            return None
        return gpu_hours * (prices[0] or 0.0) + cpu_hours * (prices[1] or 0.0)
