"""Two systems' outputs compared: by a judge, by their length, by what they repeat.

    pairing = pair_outputs(read_outputs(ours), read_outputs(theirs))
    comparison = Comparison(pairing, EndpointJudge(url, model), cache_file)
    print(comparison.cost(TokenPrices(2.5, 10)).sentence())     # before anything is asked
    judged = comparison.run(progress)
    for sentence in sentences(pairing, judged): print(sentence)
    write_page(page_file, pairing, judged)                      # without a judge: None

What is computed, and what it costs: docs/judging.md.
"""

from neft_ray.judge.compare import Comparison, Judged, JudgedPair
from neft_ray.judge.cost import Cost, TokenPrices
from neft_ray.judge.endpoint import EndpointJudge
from neft_ray.judge.judges import Judge, LocalJudge, Verdict
from neft_ray.judge.outputs import (
    Output,
    Outputs,
    Pair,
    Pairing,
    pair_outputs,
    read_outputs,
    write_outputs,
)
from neft_ray.judge.page import write_page
from neft_ray.judge.phrases import headline, sentences
from neft_ray.judge.prompt import LABELS, JudgePrompt, load_prompt
from neft_ray.judge.texts import TextComparison, compare_texts
from neft_ray.judge.winrate import Estimate, WinRate, win_rate_of

__all__ = [
    "LABELS",
    "Comparison",
    "Cost",
    "EndpointJudge",
    "Estimate",
    "Judge",
    "JudgePrompt",
    "Judged",
    "JudgedPair",
    "LocalJudge",
    "Output",
    "Outputs",
    "Pair",
    "Pairing",
    "TextComparison",
    "TokenPrices",
    "Verdict",
    "WinRate",
    "compare_texts",
    "headline",
    "load_prompt",
    "pair_outputs",
    "read_outputs",
    "sentences",
    "win_rate_of",
    "write_outputs",
    "write_page",
]
