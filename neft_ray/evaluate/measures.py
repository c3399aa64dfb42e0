"""What is measured on a model's replies to a set, without a judge."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from neft_ray.generate.replies import ENDED, NO_ROOM, Reply
from neft_ray.textstats import log_diversity, repetition, words_of


def measured(replies: Sequence[Reply]) -> dict[str, float]:
    """Return the measures of some replies.

    Returns:
        `num_replies`; means over replies: `mean_characters`, `mean_words`, `mean_tokens`,
        `repetition` (of 2-grams) and `log_diversity`, both of the first words of each text, see
        `textstats`; `ended_fraction`, those that ended by themselves; `num_no_room`, those whose
        prompt fills the model's context.
    """
    texts = [text for reply in replies for text in reply.texts]
    ends = [end for reply in replies for end in reply.ends]
    return {
        "num_replies": float(len(replies)),
        "mean_characters": fmean(sum(map(len, reply.texts)) for reply in replies),
        "mean_words": fmean(sum(len(words_of(t)) for t in reply.texts) for reply in replies),
        "mean_tokens": fmean(sum(reply.num_tokens) for reply in replies),
        "repetition": fmean(map(repetition, texts)),
        "log_diversity": fmean(map(log_diversity, texts)),
        "ended_fraction": fmean(end == ENDED for end in ends),
        "num_no_room": float(ends.count(NO_ROOM)),
    }
