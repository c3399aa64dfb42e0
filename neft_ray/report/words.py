"""The results in plain words: verdict, sentences, and the lines for a terminal."""

from __future__ import annotations

import math

from neft_ray.choice import weighed_loss
from neft_ray.report.finalists import Lift
from neft_ray.report.lift import HELPS, HURTS, NO_EVIDENCE, Difference
from neft_ray.report.phrases import (
    arm_title,
    best_text,
    bounds_text,
    budget_text,
    count,
    interval_text,
    loss_text,
    sentence,
)
from neft_ray.report.results import Results
from neft_ray.report.trials import Trial

AT_END = "when training runs to the end"
AT_BEST = "with early stopping"
_CLAUSES = {
    HELPS: "noise helps {when}",
    HURTS: "noise hurts {when}",
    NO_EVIDENCE: "there is no evidence of an effect {when}",
}

_MOST_PROBLEMS = 5
_SIDES = {
    HELPS: "better",
    HURTS: "worse",
    NO_EVIDENCE: "no evidence of a difference",
}
DIRECTIONS = {HELPS: "noise better", HURTS: "noise worse", NO_EVIDENCE: "no evidence"}


def headline(results: Results) -> str:
    """Return the verdict in one sentence; of a stand-in, that it is none."""
    is_stand_in = "stand_in" in results.manifest
    return "A stand-in, which shows nothing. " * is_stand_in + _headline(results)


def _headline(results: Results) -> str:
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


def comparison_sentences(results: Results) -> list[str]:
    """Return what further controls say: is it the noise of the paper, or any regulariser?"""
    found = []
    for comparison in results.comparisons:
        if comparison is results.headline:
            continue
        ours, theirs = comparison.ours.name, comparison.theirs.name
        lift = comparison.lift
        measured = [(lift.at_end, "at the end"), (lift.at_best, "at best")] if lift else []
        parts = [
            f"{_SIDES[it.verdict]} {when} ({loss_text(it.difference)}, {bounds_text(it)})"
            f"{_diverged_text(it, (ours, theirs))}"
            for it, when in measured
            if it
        ]
        why = comparison.no_lift_reason or "no pair of finalists can be compared"
        found.append(f"{sentence(ours)} against {theirs}: {'; '.join(parts) or why}.")
    return found


def budget_comparison(results: Results) -> str:
    """Return in a sentence how the budgets of the arms compare; empty without two searches."""
    if len(results.arms) < 2 or not all(arm.trials for arm in results.arms):
        return ""
    first, *others = (
        (f"{arm.steps:,}", count(len(arm.trials), "trial"), arm.name) for arm in results.arms
    )
    spent = f"{first[0]} optimizer steps in {first[1]} of the {first[2]} arm"
    spent += "".join(f", {steps} in {trials} of the {name} arm" for steps, trials, name in others)
    if not results.is_finished:
        return f"So far: {spent}."
    whole = max(trial.record.num_steps for arm in results.arms for trial in arm.trials)
    steps = [arm.steps for arm in results.arms]
    if max(steps) - min(steps) < whole:
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
    lines += comparison_sentences(results)
    lines += filter(None, [choice_text(results)])
    troubled = results.with_problems
    lines += [f"{trial.name}: {trial.problem}" for trial in troubled[:_MOST_PROBLEMS]]
    if len(troubled) > _MOST_PROBLEMS:
        more = count(len(troubled) - _MOST_PROBLEMS, "more trial")
        lines.append(f"… and {more}; the report lists all.")
    return lines


def choice_text(results: Results) -> str:
    """Return in a sentence how measures were weighed to choose the model; empty if none was."""
    objective, best = results.config.sweep.objective, results.best
    if not objective.weights or best is None:
        return ""
    terms = [
        f"{'-' if cost < 0 else '+'} {abs(cost):g} × {name.replace('_', ' ')}"
        for name, cost in objective.costs.items()
    ]
    rule = f"select loss {' '.join(terms)}"
    score = weighed_loss(best.record, objective)
    if not math.isfinite(score):
        return f"The model is {best.name}, by its loss alone: no finalist has all of {rule}."
    return f"The model is {best.name}, the finalist with the lowest {rule}: {score:.4f}."


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


def _difference_sentence(difference: Difference, when: str) -> str:
    value = difference.difference
    if difference.verdict == NO_EVIDENCE:
        says = f"treatment minus control is {loss_text(value)} nats per token"
    else:
        side = "lower" if value < 0 else "higher"
        says = f"held-out loss is {loss_text(abs(value))} nats per token {side}"
    clause = sentence(_CLAUSES[difference.verdict].format(when=when))
    return f"{clause}: {says} ({interval_text(difference)}).{_diverged_text(difference)}"


def _diverged_text(difference: Difference, arms: tuple[str, str] = ("treatment", "control")) -> str:
    counts = (difference.num_treatment_diverged, difference.num_control_diverged)
    return "".join(
        f" Not counted: {count(num, f'{arm} run')} that diverged."
        for arm, num in zip(arms, counts, strict=True)
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
