"""The results in plain words: verdict, sentences, and the lines for a terminal."""

from __future__ import annotations

import math
from typing import Any

from neft_ray.report.finalists import Lift
from neft_ray.report.lift import HELPS, HURTS, NO_EVIDENCE, Difference
from neft_ray.report.results import Results
from neft_ray.report.trials import ALPHA, LEARNING_RATE, Arm, Trial

AT_END = "when training runs to the end"
AT_BEST = "with early stopping"
_CLAUSES = {
    HELPS: "noise helps {when}",
    HURTS: "noise hurts {when}",
    NO_EVIDENCE: "there is no evidence of an effect {when}",
}

_MOST_PROBLEMS = 5
DIRECTIONS = {HELPS: "noise better", HURTS: "noise worse", NO_EVIDENCE: "no evidence"}


def headline(results: Results) -> str:
    """Return the verdict in one sentence."""
    lift = results.lift
    if lift is None:
        return f"Not measured: {results.no_lift_reason}."
    measured = [(d, when) for d, when in ((lift.at_end, AT_END), (lift.at_best, AT_BEST)) if d]
    if not measured:
        return "Not measured: no pair of finalists can be compared."
    text = _clauses([(difference.verdict, when) for difference, when in measured])
    num_pairs = max(len(difference.seeds) for difference, _ in measured)
    if num_pairs < lift.num_planned_seeds:
        kind = "From" if results.is_finished else "Preliminary, from"
        return f"{kind} {num_pairs} of {lift.num_planned_seeds} seeds: {text}"
    return sentence(text)


def _clauses(verdicts: list[tuple[str, str]]) -> str:
    """Return what was found, and when, in one clause if it was found throughout."""
    if len({verdict for verdict, _ in verdicts}) == 1:
        verdict, join = verdicts[0][0], " or " if verdicts[0][0] == NO_EVIDENCE else " and "
        return _CLAUSES[verdict].format(when=join.join(when for _, when in verdicts)) + "."
    return "; ".join(_CLAUSES[verdict].format(when=when) for verdict, when in verdicts) + "."


def lift_sentences(lift: Lift) -> list[str]:
    """Return one sentence per comparison, and one on early stopping alone."""
    sentences = [
        _difference_sentence(difference, when)
        for difference, when in ((lift.at_end, AT_END), (lift.at_best, AT_BEST))
        if difference
    ]
    if lift.at_end and lift.against_early_stopping:
        sentences.append(_early_stopping_sentence(lift.at_end, lift.against_early_stopping))
    return sentences


def arm_title(arm: Arm) -> str:
    """Return an arm's name with what it fixes, such as `control arm (α = 0)`."""
    fixed = ", ".join(f"{_short(key)} = {value_text(value)}" for key, value in arm.fixed.items())
    return f"{arm.name} arm ({fixed})" if fixed else f"{arm.name} arm"


def configuration_text(trial: Trial) -> str:
    """Return α, learning rate and the other searched values of a trial."""
    others = {k: v for k, v in trial.values.items() if k not in (ALPHA, LEARNING_RATE)}
    values = {ALPHA: trial.alpha, LEARNING_RATE: trial.learning_rate, **others}
    return ", ".join(f"{_short(key)} {value_text(value)}" for key, value in values.items())


def budget_text(arm: Arm) -> str:
    """Return what an arm's search spent and spared."""
    text = f"{len(arm.trials)} of {arm.num_planned} trials"
    if (num_more := len(arm.trials) - arm.num_planned) > 0:
        text = f"{arm.num_planned} trials and {num_more} more to spend as much as the other arm"
    text += f", {arm.steps:,} of {arm.full_steps:,} optimizer steps spent"
    if arm.saved_steps:
        share = arm.saved_steps / arm.full_steps
        text += (
            f", {_count(len(arm.cut), 'trial')} cut, {arm.saved_steps:,} steps saved ({share:.0%})"
        )
    return text


def budget_comparison(results: Results) -> str:
    """Return in a sentence how the budgets of both arms compare; empty without two searches."""
    ours, theirs = results.treatment, results.control
    if theirs is None or not (ours.trials and theirs.trials):
        return ""
    spent = (
        f"{ours.steps:,} optimizer steps in {_count(len(ours.trials), 'trial')} of the treatment "
        f"arm, {theirs.steps:,} in {_count(len(theirs.trials), 'trial')} of the control arm"
    )
    if not results.is_finished:
        return f"So far: {spent}."
    whole = max(trial.record.num_steps for trial in (*ours.trials, *theirs.trials))
    if abs(ours.steps - theirs.steps) < whole:
        return f"Equal tuning budgets, to within one whole trial: {spent}."
    return f"The tuning budgets differ: {spent}."


def summary_lines(results: Results) -> list[str]:
    """Return what a terminal shows at the end of a sweep, or of a single trial."""
    if results.manifest.get("kind") == "train":
        return [_single_text(trial) for trial in results.trials]
    lines = [] if results.is_finished else ["This run has not finished; the figures are so far."]
    for arm in results.arms:
        title = sentence(arm_title(arm))
        lines.append(f"{title}: {best_text(arm)}")
        lines.append(f"  {budget_text(arm)}")
    lines.append(headline(results))
    if results.lift:
        lines += [f"  {sentence}" for sentence in lift_sentences(results.lift)]
        lines += [f"  Left out: {reason}." for reason in results.lift.left_out]
    troubled = results.with_problems
    lines += [f"{trial.name}: {trial.problem}" for trial in troubled[:_MOST_PROBLEMS]]
    if len(troubled) > _MOST_PROBLEMS:
        more = _count(len(troubled) - _MOST_PROBLEMS, "more trial")
        lines.append(f"… and {more}; the report lists all.")
    return lines


def _single_text(trial: Trial) -> str:
    """Return in a line what a trial without a search came to."""
    best, reports = trial.record.best, trial.record.reports
    if best is None:
        return f"{trial.name}: no evaluation with a finite select loss"
    loss, last = best.metrics["select_loss"], reports[-1].metrics["select_loss"]
    return (
        f"{trial.name}: select loss {loss:.4f} at step {best.step}, its best; "
        f"{last:.4f} at step {reports[-1].step}, its last"
    )


def best_text(arm: Arm) -> str:
    """Return the best configuration of an arm's search with its loss."""
    best, report = arm.best, arm.best_report
    if best is None or report is None:
        return "no trial has a finite select loss"
    return (
        f"best is {configuration_text(best)} with select loss "
        f"{loss_text(report.metrics['select_loss'])} at step {report.step} of "
        f"{best.record.num_steps} ({best.name})"
    )


def loss_text(loss: float) -> str:
    """Return a loss in nats with three decimals, a dash where there is none."""
    if not math.isfinite(loss):
        return "–"
    return f"{round(loss, 3) + 0.0:.3f}".replace("-", "−")


def value_text(value: Any) -> str:
    """Return a hyper-parameter with three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def interval_text(difference: Difference) -> str:
    """Return the 95 % interval, seeds and rows of a difference."""
    size = f"{_count(len(difference.seeds), 'seed')}, {_count(difference.num_rows, 'row')}"
    if difference.interval is None:
        return f"no interval from so little: {size}"
    low, high = map(loss_text, difference.interval)
    return f"95 % interval {low} to {high}, {size}"


def _difference_sentence(difference: Difference, when: str) -> str:
    value = difference.difference
    if difference.verdict == NO_EVIDENCE:
        says = f"treatment minus control is {loss_text(value)} nats per token"
    else:
        side = "lower" if value < 0 else "higher"
        says = f"held-out loss is {loss_text(abs(value))} nats per token {side}"
    clause = sentence(_CLAUSES[difference.verdict].format(when=when))
    return f"{clause}: {says} ({interval_text(difference)}).{_diverged_text(difference)}"


def _diverged_text(difference: Difference) -> str:
    counts = {
        "treatment": difference.num_treatment_diverged,
        "control": difference.num_control_diverged,
    }
    return "".join(
        f" Not counted: {_count(num, f'{arm} run')} that diverged."
        for arm, num in counts.items()
        if num
    )


def _early_stopping_sentence(at_end: Difference, against: Difference) -> str:
    """Compare what noise gains at the end with what stopping at the best step gains alone."""
    says = {
        HELPS: "gains less than noise",
        HURTS: "gains more than noise",
        NO_EVIDENCE: "gains as much as noise, as far as these runs can tell",
    }[against.verdict]
    gains = ""
    if at_end.seeds == against.seeds:
        by_stopping = at_end.control_loss - against.control_loss
        gains = f"{loss_text(by_stopping)} against {loss_text(-at_end.difference)} nats per token; "
    return (
        f"Early stopping alone (the control arm at its best step) {says} ({gains}noise to the end "
        f"minus early stopping alone: {loss_text(against.difference)}, {interval_text(against)})."
    )


def sentence(text: str) -> str:
    """Return a text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def _short(key: str) -> str:
    return {ALPHA: "α", LEARNING_RATE: "learning rate"}.get(key, key)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
