"""What a trial pays before its first step: python -m benchmarks.trial_start.

One slot of one core runs trials of 10 steps on the built-in base, one after another. Counted is
the time from the last step of a trial to the first of the next, with the last evaluation,
checkpoint and reports in it, and from the command to the first step of all. The other side is
`benchmarks/stock.py`.
"""

from __future__ import annotations

from itertools import pairwise
from statistics import median

from benchmarks.common import arguments, finish, lower_is_better, spread
from benchmarks.plays import Play, play_both

SWEEP = """
name: trial-start
storage: {storage}
model: {{path: "builtin:base"}}
data: {{train: "builtin:tales", template: question, max_length_tokens: 192, max_rows: 160}}
batch: {{size_examples: 16, micro_tokens: 4096}}
training: {{epochs: 1, eval_every_steps: 100, train_loss_rows: 0}}
sweep:
  space:
    noise.alpha: {{choice: [0, 15]}}
    optimizer.learning_rate: {{choice: [3e-4, 1e-3, 3e-3]}}
  searcher: {{kind: grid}}
  scheduler: {{kind: none}}
  finalists: {{num: 0}}
  slots: 1
"""


def gaps(play: Play) -> list[float]:
    """Return the seconds between one trial's last step and the next one's first."""
    trials = sorted(times for times in play.steps.values())
    return [after[0] - before[-1] for before, after in pairwise(trials)]


def main() -> None:
    """Print the times and ratios."""
    given = arguments(__doc__ or "", repeats=1)
    first: dict[str, list[float]] = {"neft_ray": [], "stock": []}
    later: dict[str, list[float]] = {"neft_ray": [], "stock": []}
    for _ in range(given.repeats):
        for who, play in zip(first, play_both(SWEEP, {}), strict=True):
            first[who].append(min(times[0] for times in play.steps.values()))
            later[who] += gaps(play)
    for what, seconds in (("first step of all", first), ("of each later trial", later)):
        for who, found in seconds.items():
            print(spread(f"{who}: {what}", found))
    middle = {who: median(found) for who, found in later.items()}
    start = {who: median(found) for who, found in first.items()}
    rows = [
        lower_is_better("first step of a later trial", middle["neft_ray"], middle["stock"], "s"),
        lower_is_better("first step of all", start["neft_ray"], start["stock"], "s"),
    ]
    finish(rows, given)


if __name__ == "__main__":
    main()
