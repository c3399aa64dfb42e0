"""Learning curves of a grid, recorded with the real loop: python -m benchmarks.curves FILE.

What `benchmarks/search.py` replays sweeps on. A recording that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from neft_ray.config.load import load_sweep
from neft_ray.config.trial import TrialConfig
from neft_ray.data.tokenized import TokenizedData
from neft_ray.noise import EmbeddingNoise
from neft_ray.strategy.models import BaseModels
from neft_ray.strategy.registry import build_engine
from neft_ray.sweep.driver import DataCache
from neft_ray.train.loop import num_steps, train
from neft_ray.train.metrics import evaluate

RECORDED = Path(__file__).parent / "data" / "curves.json"
RECIPE = Path("sweeps/quickstart.yaml")
CHANGED = {"training.eval_every_steps": 10, "training.train_loss_rows": 0}
GRID: dict[str, tuple[float, ...]] = {
    "noise.alpha": (0.0, 5.0, 10.0, 15.0),
    "optimizer.learning_rate": (1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3, 6.4e-3, 1.28e-2),
    "optimizer.weight_decay": (0.0, 0.3),
}
SEEDS = (0, 1)
HOW = (
    "select losses of every grid point (the last key changing fastest), one list per seed, one "
    "number per evaluation, cut where a loss was not finite; the recipe with `changed`, on one "
    "thread of a CPU, by `python -m benchmarks.curves`"
)


@dataclass(frozen=True)
class Curves:
    """A recording.

    Attributes:
        grid: The values of every key.
        steps: Where the trials were evaluated.
        losses: By seed, then by point, one per step; shorter where the trial diverged.
    """

    grid: Mapping[str, tuple[float, ...]]
    steps: list[int]
    losses: list[list[list[float]]]

    @classmethod
    def load(cls, file: Path = RECORDED) -> Curves:
        """Read a recording."""
        found = json.loads(file.read_text())
        grid = {key: tuple(values) for key, values in found["grid"].items()}
        return cls(grid, found["steps"], found["losses"])

    @property
    def points(self) -> list[dict[str, float]]:
        """Every combination, in the order of `losses`."""
        return points(self.grid)


def points(grid: Mapping[str, tuple[float, ...]]) -> list[dict[str, float]]:
    """Return every combination, the last key changing fastest."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def record(trial: TrialConfig, data: TokenizedData, models: BaseModels) -> list[float]:
    """Train one trial and return its select losses up to the first that is not finite."""
    torch.manual_seed(trial.training.seed)
    engine = build_engine(trial, models, torch.device("cpu"))
    noise = EmbeddingNoise.of(trial.noise, trial.training.seed)
    losses: list[float] = []
    with noise.attached(engine.plain.embedding):
        for metrics in train(engine, data, noise, trial):
            if not math.isfinite(metrics["train_loss"] + metrics["grad_norm"]):
                break
            if int(metrics["step"]) % trial.training.eval_every_steps == 0:
                loss = evaluate(engine, data, trial, with_report=False)[0]["select_loss"]
                if not math.isfinite(loss):
                    break
                losses.append(round(loss, 5))
    engine.close()
    return losses


def main() -> None:
    """Record what is missing in a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=RECORDED)
    file: Path = parser.parse_args().file
    torch.set_num_threads(1)
    base = load_sweep(RECIPE).trial.with_values(CHANGED)
    every = base.training.eval_every_steps
    with tempfile.TemporaryDirectory() as folder:
        data, models = DataCache(Path(folder)).data(base), BaseModels()
        steps = list(range(every, num_steps(data, base) + 1, every))
        empty: list[list[list[float]]] = [[] for _ in SEEDS]
        losses = Curves.load(file).losses if file.exists() else empty
        header: dict[str, Any] = {"how": HOW, "recipe": str(RECIPE), "changed": CHANGED}
        header |= {"grid": GRID, "seeds": SEEDS, "steps": steps}
        for seed, curves in zip(SEEDS, losses, strict=True):
            for point in points(GRID)[len(curves) :]:
                curves.append(
                    record(base.with_values({**point, "training.seed": seed}), data, models)
                )
                file.write_text(json.dumps(header | {"losses": losses}) + "\n")
                print(seed, point, curves[-1][-1:], flush=True)


if __name__ == "__main__":
    main()
