"""The note on a sweep's parent run in MLflow: what was found, as a table and in words."""

from __future__ import annotations

from collections.abc import Sequence

from neft_ray.report import Results, summary_lines
from neft_ray.report.arms import Arm
from neft_ray.report.phrases import configuration_text, loss_text
from neft_ray.report.words import comparison_sentences, headline, lift_sentences

MAX_CHARACTERS = 7900
"""MLflow cuts a tag off at 8000."""
_COLUMNS = (
    *("arm", "best configuration", "best select loss", "at step", "select loss at its end"),
    *("trials", "cut", "steps"),
)


def sweep_note(results: Results, remarks: Sequence[str] = ()) -> str:
    """Return the note in Markdown: the verdict, a row per arm, the lift in words.

    Args:
        results: Of a sweep that has ended or not.
        remarks: More lines, such as what became of the best model.
    """
    if _is_single(results):
        return "\n".join(f"* {line}" for line in (*summary_lines(results), *remarks))
    lines = [f"**{headline(results)}**", ""]
    if not results.is_finished:
        lines += ["*This sweep has not finished; the figures are so far.*", ""]
    lines += [_row(_COLUMNS), _row(["---"] * len(_COLUMNS))]
    lines += [_row(_cells(arm)) for arm in results.arms]
    lines += ["", "Losses are nats per supervised token, noise off.", ""]
    if results.lift:
        lines += [f"* {sentence}" for sentence in lift_sentences(results.lift)]
    lines += [f"* {sentence}" for sentence in comparison_sentences(results)]
    lines += [f"* {remark}" for remark in remarks]
    text = "\n".join(lines)
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + "…"


def verdict(results: Results) -> str:
    """Return what was found, in a sentence."""
    return "\n".join(summary_lines(results)) if _is_single(results) else headline(results)


def _is_single(results: Results) -> bool:
    return bool(results.manifest["kind"] == "train")


def _cells(arm: Arm) -> list[str]:
    best = arm.best
    found = ["–"] * 4
    if best is not None and best.record.best is not None:
        lowest, last = best.record.best, best.record.reports[-1]
        found = [
            f"{configuration_text(best)} ({best.name})",
            loss_text(lowest.metrics["select_loss"]),
            f"{lowest.step} of {best.record.num_steps}",
            loss_text(last.metrics["select_loss"]),
        ]
    return [arm.name, *found, str(len(arm.trials)), str(len(arm.cut)), f"{arm.steps:,}"]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
