"""Workers that answer together leave no prompt out, whenever each was told of them."""

from torch import distributed

from neft_ray.config.evaluation import Answering, ReplyConfig
from neft_ray.config.trial import ModelConfig
from neft_ray.data.conversation import Turn
from neft_ray.generate.replies import Prompt
from neft_ray.replier import reply_to
from tests.contract.strategy_runs import run_group

HOW = {"workers": {"num": 2}, "batch_size": 1, "decoding": {"max_new_tokens": 2}}
PROMPTS = [Prompt(n, (Turn("user", "x" * (9 - n)),)) for n in range(5)]


def answered(folder):
    """The prompts that a worker answers; the second one was told when one had its reply."""
    answering = Answering(
        model=ModelConfig(path="builtin:base"),
        template="question",
        replies=ReplyConfig.model_validate(HOW),
    )
    found = []
    reply_to(answering, PROMPTS[distributed.get_rank() :], "cpu", found.extend)
    return [reply.number for reply in found]


def test_every_prompt_is_answered_though_workers_were_told_of_them_at_different_times(tmp_path):
    first, second = run_group(answered, 2, tmp_path)
    assert {*first, *second} == {prompt.number for prompt in PROMPTS}
    assert len(first) == len(second) == 3, "only who is left without any repeats one"
