"""Metric names as MLflow shows them: in sections, the losses first."""

from __future__ import annotations

PROGRESS = ("epoch", "grad_norm", "learning_rate", "tokens", "forward_tokens", "tokens_trained")
PERPLEXITY = "select_perplexity"
LOSS, NOISE = "_loss", "noise_"


def shown_name(name: str) -> str:
    """Return a metric's name in MLflow, whose charts are grouped by what stands before a `/`.

    In the UI's own order: `loss/…`, `noise/…`, `system/<node>/…`, `train/…`, and last what has no
    section, such as the figures of a whole sweep.
    """
    if name in PROGRESS:
        return f"train/{name}"
    if name == PERPLEXITY:
        return f"loss/{name}"
    if name.endswith(LOSS):
        return f"loss/{name.removesuffix(LOSS)}"
    if name.startswith(NOISE):
        return f"noise/{name.removeprefix(NOISE)}"
    return name
