"""The three splits: train, select, report; by a hash of the prompt, near-copies together."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from enum import IntEnum

from neft_ray.config.data import SplitConfig
from neft_ray.data.conversation import Turn

WORD = re.compile(r"\w+")


class Split(IntEnum):
    """What a row is used for."""

    TRAIN = 0
    SELECT = 1
    """Seen by early stopping and selection."""
    REPORT = 2
    """Seen by the lift alone."""


def prompt_key(turns: Sequence[Turn]) -> str:
    """Return what near-copies of a prompt share: its set of lower-case words.

    Case, punctuation, word order and repeated words do not count, numbers do. Where there is no
    word, such as in a row of emojis, it is the text itself.
    """
    text = " ".join(f"{turn.text} {turn.context}" for turn in turns if turn.role != "assistant")
    return " ".join(sorted(set(WORD.findall(text.casefold()))) or text.split())


def split_by_key(key: str, config: SplitConfig) -> Split:
    """Draw the split of all rows with this key."""
    draw = _uniform(key, config.seed)
    if draw < config.select_fraction:
        return Split.SELECT
    if draw < config.select_fraction + config.report_fraction:
        return Split.REPORT
    return Split.TRAIN


def halve_by_key(key: str, config: SplitConfig) -> Split:
    """Draw select or report, evenly, for all held-out rows with this key."""
    return Split.SELECT if _uniform(key, config.seed) < 0.5 else Split.REPORT


def _uniform(key: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}|{key}".encode()).digest()
    return float(int.from_bytes(digest[:8], "big") / 2**64)
