"""Replies to evaluation prompts: alone as in a batch, turn by turn, and where there is no room."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from neft_ray.config.evaluation import Answering, DecodingConfig, ReplyConfig
from neft_ray.config.trial import ModelConfig
from neft_ray.data.conversation import Turn
from neft_ray.data.templates import Template
from neft_ray.generate.decoding import Writer
from neft_ray.generate.replies import (
    CUT,
    ENDED,
    NO_ROOM,
    Prompt,
    Reply,
    Replying,
    batches_of,
    tokens_of,
)
from neft_ray.replier import reply_to

MODEL = ModelConfig(path="builtin:base")
QUESTIONS = ["Who sold the lamp?", "What?", "Where did Mia and her old dog walk in the long night?"]
TWO_TURNS = "{% for m in messages %}{{ m.role[0] }}: {{ m.content }}\n{% endfor %}a:"


def prompt_of(number, *questions):
    return Prompt(number, tuple(Turn("user", text) for text in questions))


PROMPTS = [prompt_of(number, text) for number, text in enumerate(QUESTIONS)]


def replies_to(prompts, device="cpu", **settings):
    template = settings.pop("template", "question")
    decoding = {"max_new_tokens": 12} | settings.pop("decoding", {})
    how = ReplyConfig.model_validate({"decoding": decoding, **settings})
    found: list[Reply] = []
    answering = Answering(model=MODEL, template=template, replies=how)
    reply_to(answering, prompts, device, found.extend)
    return sorted(found, key=lambda reply: reply.number)


def test_a_reply_is_the_same_in_any_batch():
    together = replies_to(PROMPTS, batch_size=3)
    assert [reply.number for reply in together] == [0, 1, 2]
    assert together == replies_to(PROMPTS, batch_size=1)
    assert all(reply.texts[0] and reply.num_tokens[0] > 0 for reply in together)


def test_a_reply_ends_by_itself_or_is_cut():
    (long,) = replies_to(PROMPTS[:1], decoding={"max_new_tokens": 200})
    assert long.ends == (ENDED,) and 2 < long.num_tokens[0] < 200
    (short,) = replies_to(PROMPTS[:1], decoding={"max_new_tokens": 2})
    assert short.ends == (CUT,) and short.num_tokens == (2,)
    assert long.texts[0].startswith(short.texts[0])


def test_drawn_replies_follow_from_the_seed():
    drawn = [replies_to(PROMPTS, decoding={"temperature": 1.0, "seed": seed}) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert replies_to(PROMPTS, decoding={"temperature": 1.0, "top_p": 1e-6, "seed": 3}) == (
        replies_to(PROMPTS)
    ), "the likeliest token alone is left"


class Echo:
    """A writer that remembers what it was given and says nothing but the end."""

    def __init__(self, writer):
        self.given = []
        self.writer = writer

    def generate(self, input_ids, attention_mask, max_new_tokens, **_):
        rows = zip(input_ids.tolist(), attention_mask.tolist(), strict=True)
        self.given.append(
            ([[t for t, m in zip(*row, strict=True) if m] for row in rows], max_new_tokens)
        )
        end = torch.full((len(input_ids), 1), self.writer.ends[0])
        return torch.cat([input_ids, end], dim=1)


@pytest.fixture
def echo(tokenizer, monkeypatch):
    from neft_ray.strategy.inference import build_copy

    ranks = build_copy(MODEL, torch.device("cpu"))
    writer = Writer(
        ranks.plain, ranks.device, [tokenizer.eos_token_id], DecodingConfig(max_new_tokens=100)
    )
    heard = Echo(writer)
    monkeypatch.setattr(ranks.plain, "generate", heard.generate)
    heard.replying = Replying(writer, tokenizer, Template("question", tokenizer))
    return heard


def words(num):
    return " ".join(["lamp"] * num)


def test_a_prompt_that_leaves_little_room_does_not_cut_the_others(echo):
    size = {n: len(tokens_of([Turn("user", words(n))], echo.replying.template,
                             echo.replying.tokenizer)) for n in (1, 60, 400)}  # fmt: skip
    assert size[1] < 156 < size[60] < 256 < size[400], "the context is 256"
    prompts = [prompt_of(0, words(1)), prompt_of(1, words(60)), prompt_of(2, words(400))]
    (replies,) = echo.replying.replies(iter([prompts]), 1)
    assert [(len(rows), room) for rows, room in echo.given] == [(1, 100), (1, 256 - size[60])]
    assert [reply.ends for reply in replies] == [(ENDED,), (ENDED,), (NO_ROOM,)]
    assert replies[2].texts == ("",)


def test_in_step_all_write_equally_often_whatever_they_are_asked(echo, tokenizer):
    template = Template("{{ instruction }}", tokenizer)
    in_step = replace(
        echo.replying, writer=replace(echo.replying.writer, in_step=True), template=template
    )
    batches = [[prompt_of(0, "a")], [prompt_of(1, words(400))], [prompt_of(2, "b"), PROMPTS[0]]]
    found = list(in_step.replies(iter(batches), 3))
    assert len(echo.given) == 3 * 3, "three rounds of each batch"
    assert [reply.ends for batch in found for reply in batch] == [
        (ENDED,), (NO_ROOM,), (ENDED,), (ENDED,)
    ]  # fmt: skip


def test_nothing_is_written_for_a_batch_that_is_asked_no_more(echo):
    replies = list(echo.replying.replies(iter([PROMPTS[:1], PROMPTS[1:]]), 5))
    assert [len(rows) for rows, _ in echo.given] == [1, 2]
    assert [[len(reply.texts) for reply in batch] for batch in replies] == [[1], [1, 1]]


def test_a_second_question_comes_after_the_reply_to_the_first(echo, tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", TWO_TURNS, raising=False)
    talking = replace(echo.replying, template=Template("chat", tokenizer))
    (replies,) = talking.replies(iter([[prompt_of(0, "One?", "Two?"), prompt_of(1, "Only?")]]), 2)
    asked = [[tokenizer.decode(row) for row in rows] for rows, _ in echo.given]
    assert [text.strip() for text in asked[0]] == ["u: One?\na:", "u: Only?\na:"]
    assert [text.strip() for text in asked[1]] == ["u: One?\na: \nu: Two?\na:"]
    assert [len(reply.texts) for reply in replies] == [2, 1]


def test_workers_share_prompts_of_similar_length_evenly():
    rng = np.random.default_rng(0)
    prompts = [prompt_of(number, "x" * int(rng.integers(1, 99))) for number in range(33)]
    for world in (1, 2, 3):
        shares = [list(batches_of(prompts, 4, rank, world)) for rank in range(world)]
        assert len({len(share) for share in shares}) == 1
        asked = [prompt.number for share in shares for batch in share for prompt in batch]
        assert set(asked) == set(range(33))
        assert all(batch for share in shares for batch in share)
        assert len(asked) - 33 < world, "only who is left without any repeats one"
        lengths = [[len(p.questions[0].text) for p in batch] for batch in shares[0]]
        assert all(min(one) >= max(other) for one, other in pairwise(lengths))


def test_what_a_worker_is_told_survives_json():
    answering = Answering(model=MODEL, template="question", replies=ReplyConfig())
    assert Answering.model_validate_json(answering.model_dump_json()) == answering
