"""Metric names as MLflow shows them: in sections, so that the losses stand by themselves."""

from __future__ import annotations

PROGRESS = ("epoch", "grad_norm", "learning_rate", "tokens", "forward_tokens", "tokens_trained")
NOISE = "noise_"


def shown_name(name: str) -> str:
    """Return a metric's name in MLflow, whose charts are grouped by what stands before a `/`.

    The losses keep their names and come first; `noise/…`, `train/…` and `system/<node>/…` follow.
    """
    if name in PROGRESS:
        return f"train/{name}"
    if name.startswith(NOISE):
        return f"noise/{name.removeprefix(NOISE)}"
    return name
