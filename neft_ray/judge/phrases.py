"""A comparison in words: for the head of the page, and for a terminal."""

from __future__ import annotations

from neft_ray.judge.compare import TIE, Judged
from neft_ray.judge.outputs import Pairing
from neft_ray.judge.winrate import Estimate, WinRate

BETTER, WORSE, NO_EVIDENCE, NOT_MEASURED = "helps", "hurts", "no-evidence", "not-measured"


def verdict(judged: Judged | None) -> str:
    """Return which way the interval at equal length points; of the raw win rate without one."""
    rates = judged and judged.win_rate
    if not rates:
        return NOT_MEASURED
    low, high = (rates.controlled or rates.raw).interval
    return BETTER if low > TIE else WORSE if high < TIE else NO_EVIDENCE


def headline(pairing: Pairing, judged: Judged | None) -> str:
    """Say in one sentence which system is preferred."""
    if judged is None:
        return "No judge was asked: lengths and repetition alone."
    rates = judged.win_rate
    if rates is None:
        return "The judge gave no verdict."
    condition = "At equal length" if rates.controlled else "Length not controlled:"
    found = {BETTER: pairing.system, WORSE: pairing.reference}.get(verdict(judged))
    if found is None:
        return f"{condition} there is no evidence that either is preferred."
    return f"{condition} the judge prefers {found}."


def sentences(pairing: Pairing, judged: Judged | None) -> list[str]:
    """Return all there is to say besides: win rates, doubts, what was left out."""
    said = [f"{pairing.sentence()}."]
    if judged is None:
        return said
    rates = judged.win_rate
    if rates is not None:
        said += _of_rates(pairing.system, rates)
    pairs, asked = len(judged.rows), len(judged.rows) - judged.num_equal
    if asked:
        changed = judged.num_orders_disagree
        said.append(
            f"{judged.judge} was asked in both orders; on {changed:,} of {asked:,} pairs "
            f"({percent(changed / asked)}) its preference changes with the order."
        )
    if judged.num_equal:
        said.append(f"{judged.num_equal:,} pairs of equal outputs are ties without being asked.")
    if judged.num_without_verdict:
        reasons = ", ".join(f"{number:,} {why}" for why, number in judged.problems.items())
        said.append(
            f"{judged.num_without_verdict:,} of {pairs:,} pairs have no verdict and count nowhere "
            f"(replies: {reasons})."
        )
    if judged.sources:
        sources = ", ".join(f"{number:,} from {name}" for name, number in judged.sources.items())
        said.append(f"Verdicts: {sources}.")
    return said


def _of_rates(system: str, rates: WinRate) -> list[str]:
    raw = (
        f"Win rate of {system}: {_estimate(rates.raw)} of {rates.num:,} prompts: "
        f"{rates.num_won:,} won, {rates.num_lost:,} lost, {rates.num_tied:,} tied."
    )
    if rates.controlled is None:
        return [raw, f"Length-controlled win rate: unknown, for {rates.no_controlled_reason}."]
    controlled = f"Length-controlled win rate: {_estimate(rates.controlled)}"
    if rates.length_weight:  # 0 where all outputs are equally long
        liking = "longer" if rates.length_weight > 0 else "shorter"
        controlled += f"; of two outputs this judge tends to prefer the {liking}"
    return [raw, f"{controlled}."]


def _estimate(estimate: Estimate) -> str:
    return f"{percent(estimate.rate)} (95 % interval {interval(estimate.interval)})"


def percent(share: float) -> str:
    """Return a share as a percentage."""
    return f"{100 * share:.1f} %"


def interval(bounds: tuple[float, float]) -> str:
    """Return the interval of a share in percent."""
    low, high = bounds
    return f"{100 * low:.1f} to {100 * high:.1f} %"
