"""What vLLM is told and what is read from it; vLLM itself is not installed here."""

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import pytest

from neft_ray.config.evaluation import Answering, ReplyConfig
from neft_ray.config.trial import ModelConfig
from neft_ray.data.conversation import Turn
from neft_ray.generate import vllm_engine
from neft_ray.generate.replies import CUT, ENDED, NO_ROOM, Prompt, Reply

HOW = ReplyConfig.model_validate(
    {"engine": "vllm", "workers": {"num": 1, "gpus": 2.0},
     "decoding": {"max_new_tokens": 7, "temperature": 0.5, "top_p": 0.9, "seed": 3}}
)  # fmt: skip
ANSWERING = Answering(
    model=ModelConfig(path="builtin:base", dtype="bfloat16"), template="question", replies=HOW
)


@dataclass
class Fake:
    """A module that answers as vLLM's documentation says it does."""

    settings: dict = field(default_factory=dict)
    sampling: dict = field(default_factory=dict)
    given: list = field(default_factory=list)

    def module(self):
        fake, module = self, ModuleType("vllm")

        class LLM:
            def __init__(self, **settings):
                fake.settings = settings
                self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=256))

            def generate(self, prompts, sampling):
                if any(len(prompt["prompt_token_ids"]) >= 256 for prompt in prompts):
                    raise ValueError("longer than the maximum model length")
                fake.given.append(prompts)
                return [Output(number) for number, _ in enumerate(prompts)]

        module.LLM = LLM
        module.SamplingParams = lambda **sampling: fake.sampling.update(sampling)
        module.TokensPrompt = dict
        return module


class Output:
    def __init__(self, number):
        ended = number % 2 == 0
        self.outputs = [self]
        self.text = f" reply {number} "
        self.token_ids = [5, 6, 2] if ended else [5, 6, 7]
        self.finish_reason = "stop" if ended else "length"


@pytest.fixture
def vllm(monkeypatch):
    fake = Fake()
    monkeypatch.setitem(sys.modules, "vllm", fake.module())
    return fake


def test_settings_reach_it_and_replies_come_back(vllm, tokenizer):
    prompts = [Prompt(n, (Turn("user", f"Who {n}?"),)) for n in (4, 9)]
    found: list[Reply] = []
    vllm_engine.reply_with_vllm(ANSWERING, prompts, found.extend)
    assert found == [
        Reply(4, ("reply 0",), (2,), (ENDED,)),
        Reply(9, ("reply 1",), (3,), (CUT,)),
    ]
    assert vllm.settings["tensor_parallel_size"] == 2 and vllm.settings["dtype"] == "bfloat16"
    assert vllm.sampling == {
        "max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "repetition_penalty": 1.2
    }  # fmt: skip
    asked = [tokenizer.decode(prompt["prompt_token_ids"]) for prompt in vllm.given[0]]
    assert asked == ["<s>Question: Who 4?\nAnswer:", "<s>Question: Who 9?\nAnswer:"]


def test_a_second_question_follows_the_reply_to_the_first(vllm, tokenizer):
    turns = (Turn("user", "One?"), Turn("user", "Two?"))
    found: list[Reply] = []
    vllm_engine.reply_with_vllm(ANSWERING, [Prompt(0, turns), Prompt(1, turns[:1])], found.extend)
    assert [len(prompts) for prompts in vllm.given] == [2, 1]
    second = tokenizer.decode(vllm.given[1][0]["prompt_token_ids"])
    assert "One?" in second and "reply 0" in second and second.endswith("Two?\nAnswer:")
    assert [len(reply.texts) for reply in found] == [2, 1]


def test_a_prompt_that_fills_the_context_does_not_cost_the_others_their_replies(vllm):
    long = Prompt(0, (Turn("user", " ".join(["lamp"] * 400)),))
    found: list[Reply] = []
    vllm_engine.reply_with_vllm(ANSWERING, [long, Prompt(1, (Turn("user", "?"),))], found.extend)
    assert found == [Reply(0, ("",), (0,), (NO_ROOM,)), Reply(1, ("reply 0",), (2,), (ENDED,))]
    vllm_engine.reply_with_vllm(ANSWERING, [long], found.extend)
    assert found[-1].ends == (NO_ROOM,)
