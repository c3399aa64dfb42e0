"""What is measured on generated answers: length, repetition, diversity, likeness to the data's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

from neft_ray.config.trial import TrialConfig
from neft_ray.data.tokenized import TokenizedData
from neft_ray.files import write_whole
from neft_ray.generate.answers import Answer, answer_rows
from neft_ray.run_in_bucket import ANSWERS_FILE
from neft_ray.strategy.base import Engine
from neft_ray.textstats import log_diversity, repetition, words_of


def measure_answers(
    engine: Engine, data: TokenizedData, config: TrialConfig, num: int, folder: Path
) -> dict[str, float]:
    """Answer the first `num` rows of the report split, and write down and measure the answers.

    All ranks call this; rank 0 writes.

    Raises:
        StorageError: If the disk is full or not writable.
    """
    answers = answer_rows(engine, data, config, num)
    if engine.rank == 0 and answers:
        write_answers(folder / ANSWERS_FILE, answers)
    return measured(answers)


def measured(answers: Sequence[Answer]) -> dict[str, float]:
    """Return the metrics of a run's answers; nothing without answers.

    Returns:
        `answer_words` and `answer_tokens`, means; `answer_ended_fraction`, those that were not cut
        off; `answer_repetition` of 2-grams and `answer_log_diversity`, means, see `textstats`;
        `answer_rouge_l`, the mean F-measure of ROUGE-L against the data's own answer, 0 to 1
        (rouge-score, no stemmer: letters and digits of English alone); `answer_bleu` of all
        answers together against the data's, 0 to 100 (sacreBLEU with its defaults).
    """
    if not answers:
        return {}
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import BLEU

    scorer = RougeScorer(["rougeL"])
    texts, references = [a.text for a in answers], [a.reference for a in answers]
    likeness = [
        float(scorer.score(reference, text)["rougeL"].fmeasure)
        for reference, text in zip(references, texts, strict=True)
    ]
    return {
        "answer_words": fmean(len(words_of(text)) for text in texts),
        "answer_tokens": fmean(answer.num_tokens for answer in answers),
        "answer_ended_fraction": fmean(answer.has_ended for answer in answers),
        "answer_repetition": fmean(map(repetition, texts)),
        "answer_log_diversity": fmean(map(log_diversity, texts)),
        "answer_rouge_l": fmean(likeness),
        "answer_bleu": float(BLEU().corpus_score(texts, [references]).score),
    }


def write_answers(path: Path, answers: Sequence[Answer]) -> None:
    """Write answers as JSON Lines, all or nothing.

    Raises:
        StorageError: If the disk is full or not writable.
    """
    lines = [json.dumps(asdict(answer), ensure_ascii=False) + "\n" for answer in answers]
    write_whole(path, "".join(lines))
