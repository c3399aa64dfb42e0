"""A whole sweep from a cold start, against the script that a careful user would write today.

    python -m benchmarks.end_to_end [--data FOLDER] [--repeats 1] [--json FILE]

α × learning rate, 12 configurations × 8 epochs with ASHA, two at a time: on the built-in base and
its rows, and on the 260K-parameter model and short Alpaca rows. The other side is
`benchmarks/stock.py`. The target is the worse of the two lowest losses; what counts is the time,
and the processor seconds of all processes, until the first report at or below it.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

from benchmarks.common import Arguments, Row, finish, lower_is_better, parser
from benchmarks.plays import Play, play_both

SWEEP = """
name: end-to-end
storage: {storage}
model: {{path: "{model}"}}
data: {data}
optimizer: {{learning_rate: 1e-3, warmup_fraction: 0.03, schedule: cosine, clip_norm: 1}}
batch: {{size_examples: 16, micro_tokens: 4096, kind: packed}}
training: {{epochs: 8, eval_every_steps: {every}, train_loss_rows: 0}}
workers: {{num: 1, cpus: 1}}
sweep:
  space:
    noise.alpha: {{choice: [0, 5, 10, 15]}}
    optimizer.learning_rate: {{choice: [3e-4, 1e-3, 3e-3]}}
  searcher: {{kind: grid}}
  scheduler: {{kind: asha, grace_steps: {grace}, eta: 2}}
  finalists: {{num: 0}}
  slots: 2
"""
TALES = (
    "{train: builtin:tales, held_out: builtin:tales, template: question, max_length_tokens: 192}"
)
ALPACA = """{{train: "{folder}/alpaca_train_4000.jsonl",
  held_out: "{folder}/alpaca_heldout_1200.jsonl", template: question, max_prompt_tokens: 64,
  min_response_tokens: 12, max_response_tokens: 96, max_rows: 500, max_length_tokens: 512}}"""


def sweeps(data: Path) -> dict[str, dict[str, object]]:
    """Return what fills the sweep file of each task."""
    alpaca = ALPACA.format(folder=data)
    return {
        "built-in base": {"model": "builtin:base", "data": TALES, "every": 20, "grace": 40},
        "260K": {"model": data / "stories260k", "data": alpaca, "every": 32, "grace": 64},
    }


def compare(name: str, fields: dict[str, object], repeats: int) -> list[Row]:
    """Run both sides in turns."""
    ratios: dict[str, list[tuple[float, float]]] = {}
    for _ in range(repeats):
        ours, stock = play_both(SWEEP, fields)
        target = max(ours.best, stock.best)
        show(name, {"neft_ray": ours, "stock": stock}, target)
        pairs = {
            "s until the target": (ours.until(target)[0], stock.until(target)[0]),
            "processor s until the target": (ours.until(target)[1], stock.until(target)[1]),
            "s of the whole sweep": (ours.seconds, stock.seconds),
            "processor s of the whole sweep": (ours.processor[-1][1], stock.processor[-1][1]),
        }
        for unit, pair in pairs.items():
            ratios.setdefault(unit, []).append(pair)
    rows = []
    for what, found in ratios.items():
        ours_seconds, stock_seconds = map(median, zip(*found, strict=True))
        rows.append(lower_is_better(f"{name}: {what}", ours_seconds, stock_seconds, "s"))
    return rows


def show(name: str, plays: dict[str, Play], target: float) -> None:
    """Print what each side did."""
    print(f"\n{name}: target {target:.4f} nats per token")
    for who, play in plays.items():
        first = min(times[0] for times in play.steps.values() if times)
        num = sum(map(len, play.steps.values()))
        print(
            f"  {who:<9} {len(play.steps):3d} trials, {num:5d} steps, first step after "
            f"{first:.1f} s, lowest loss {play.best:.4f}, target after "
            f"{play.until(target)[0]:.1f} s, {play.seconds:.1f} s in all, "
            f"{play.processor[-1][1]:.1f} processor s"
        )


def main() -> None:
    """Print the ratios."""
    given = parser(__doc__ or "", repeats=1, data=True).parse_args()
    tasks = sweeps(given.data.resolve())
    rows = [row for name, fields in tasks.items() for row in compare(name, fields, given.repeats)]
    finish(rows, Arguments(given.repeats, given.json))


if __name__ == "__main__":
    main()
