"""IFEval (Zhou et al., arXiv 2311.07911): does a reply follow instructions that can be checked?

The checks are those of lm-evaluation-harness, which took them over from the authors.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from neft_ray.errors import bad_input

NEED_PUNKT = {"length_constraints:number_sentences", "change_case:capital_word_frequency"}
"""Checks that split texts with a model of NLTK's, which is not in its package."""


def check_ready(rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse before anything is generated if replies to these rows could not be checked.

    Raises:
        UserError: If lm-eval is missing, or NLTK's data.
    """
    try:
        import langdetect  # noqa: F401
        import nltk

        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            from lm_eval.tasks.ifeval import utils  # noqa: F401
    except ImportError as error:
        remedy = "pip install 'neft-ray[ifeval]'"
        raise bad_input("ifeval", f"its checks are not installed ({error})", remedy) from None
    asked = {name for row in rows for name in row["instruction_id_list"]}
    try:
        if asked & NEED_PUNKT:
            nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        what = f"{', '.join(sorted(asked & NEED_PUNKT))} need NLTK's punkt_tab"
        remedy = "python -m nltk.downloader punkt_tab, or set NLTK_DATA"
        raise bad_input("ifeval", what, remedy) from None


def followed(rows: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> dict[str, float]:
    """Return the shares of instructions that replies follow.

    Args:
        rows: Of the set, with `prompt`, `instruction_id_list` and `kwargs`.
        texts: The reply to each.

    Returns:
        `prompt_strict`, `instruction_strict`, `prompt_loose`, `instruction_loose`: of prompts all
        of whose instructions are followed, and of instructions; loose: a first or last line, or
        asterisks, may be in the way.
    """
    from lm_eval.tasks.ifeval.utils import process_results

    found = [process_results(row, [text]) for row, text in zip(rows, texts, strict=True)]

    def share(key: str) -> float:
        values = [value for row in found for value in _listed(row[key])]
        return fmean(values)

    return {
        f"{level}_{kind}": share(f"{prefix}_level_{kind}_acc")
        for kind in ("strict", "loose")
        for level, prefix in (("prompt", "prompt"), ("instruction", "inst"))
    }


def _listed(value: bool | list[bool]) -> list[bool]:
    return value if isinstance(value, list) else [value]
