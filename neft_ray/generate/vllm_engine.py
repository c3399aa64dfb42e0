"""Replies written by vLLM, where it is installed: batches of its own, on this machine's GPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

from neft_ray.config.evaluation import Answering
from neft_ray.data.conversation import Turn
from neft_ray.data.templates import Template
from neft_ray.errors import bad_input
from neft_ray.generate.replies import CUT, ENDED, NO_ROOM, Prompt, Reply, extended, tokens_of
from neft_ray.model import load_tokenizer, resolve_path


def check_vllm() -> None:
    """Refuse where vLLM is not installed.

    Raises:
        UserError: If it is not.
    """
    if find_spec("vllm") is None:
        remedy = "pip install 'neft-ray[vllm]', or leave out engine=vllm"
        raise bad_input("engine", "vLLM is not installed", remedy)


def reply_with_vllm(
    answering: Answering, prompts: Sequence[Prompt], receive: Callable[[list[Reply]], None]
) -> None:
    """Answer prompts, a question of all of them at a time.

    Args:
        answering: What answers, and how. The model is spread over `workers.gpus` GPUs.
        prompts: To be answered.
        receive: Is given all replies at the end.

    Raises:
        UserError: If the tokenizer or the template cannot be used.
    """
    from vllm import LLM, SamplingParams, TokensPrompt

    decoding, model = answering.replies.decoding, answering.model
    tokenizer = load_tokenizer(model)
    template = Template(answering.template, tokenizer)
    engine = LLM(
        model=resolve_path(model.path),
        revision=model.revision,
        dtype=model.dtype,
        trust_remote_code=model.trust_remote_code,
        tensor_parallel_size=max(1, int(answering.replies.workers.gpus)),
        seed=decoding.seed,
    )
    context = engine.llm_engine.model_config.max_model_len
    settings = SamplingParams(
        max_tokens=decoding.max_new_tokens,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        repetition_penalty=decoding.repetition_penalty,
    )
    replies = {prompt.number: Reply(prompt.number, (), (), ()) for prompt in prompts}
    for turn in range(max(len(prompt.questions) for prompt in prompts)):
        asked = [prompt for prompt in prompts if len(prompt.questions) > turn]
        talks = [tokens_of(_talk(it, replies[it.number]), template, tokenizer) for it in asked]
        fitting = [(it, talk) for it, talk in zip(asked, talks, strict=True) if len(talk) < context]
        given = [TokensPrompt(prompt_token_ids=talk.tolist()) for _, talk in fitting]
        outputs = engine.generate(given, settings) if given else []
        found = {it.number: ("", 0, NO_ROOM) for it in asked}
        for (prompt, _), output in zip(fitting, outputs, strict=True):
            written = output.outputs[0]
            end = ENDED if written.finish_reason == "stop" else CUT
            num = len(written.token_ids) - (end == ENDED)
            found[prompt.number] = written.text.strip(), num, end
        replies |= {number: extended(replies[number], *said) for number, said in found.items()}
    receive(list(replies.values()))


def _talk(prompt: Prompt, reply: Reply) -> list[Turn]:
    """Return a conversation up to the question that is not answered yet."""
    talk: list[Turn] = []
    for question, text in zip(prompt.questions, reply.texts, strict=False):
        talk += [question, Turn("assistant", text)]
    return [*talk, prompt.questions[len(reply.texts)]]
