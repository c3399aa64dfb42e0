"""The named templates: what stands before an answer, and how an answer is written, as Jinja text.

The variables are instruction, input, system, is_first (of the conversation's questions), bos_token
and eos_token, and answer in an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_SYSTEM = "{% if system %}{{ system }}\n\n{% endif %}"
_QUESTION = "{{ instruction }}{% if input %}\n{{ input }}{% endif %}"


@dataclass(frozen=True)
class Wording:
    """A template's two texts."""

    prompt: str
    answer: str = " {{ answer }}{{ eos_token }}"
    """All of it is supervised."""


WORDINGS: Mapping[str, Wording] = {
    # https://github.com/tatsu-lab/stanford_alpaca, as published
    "alpaca": Wording(
        _SYSTEM + "Below is an instruction that describes a task"
        "{% if input %}, paired with an input that provides further context{% endif %}. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\n{{ instruction }}\n\n"
        "{% if input %}### Input:\n{{ input }}\n\n{% endif %}### Response:"
    ),
    "question": Wording(_SYSTEM + f"Question: {_QUESTION}\nAnswer:"),
    # https://github.com/lm-sys/FastChat, fastchat/conversation.py: vicuna_v1.1, ADD_COLON_TWO
    "vicuna": Wording(
        "{% if is_first %}{% if system %}{{ system }}{% else %}"
        "A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions."
        f"{{% endif %}} {{% endif %}}USER: {_QUESTION} ASSISTANT:"
    ),
    # https://github.com/meta-llama/llama, llama/generation.py: chat_completion
    "llama2-chat": Wording(
        "{% if not is_first %}{{ bos_token }}{% endif %}[INST] "
        "{% if system %}<<SYS>>\n{{ system }}\n<</SYS>>\n\n{% endif %}" + _QUESTION + " [/INST]",
        " {{ answer }} {{ eos_token }}",
    ),
    # https://github.com/openai/openai-python/blob/release-v0.28.0/chatml.md; the end of text
    # follows the end of an answer where the tokenizer's is another, for generation to stop there
    "chatml": Wording(
        "{% if not is_first %}\n{% endif %}"
        "{% if system %}<|im_start|>system\n{{ system }}<|im_end|>\n{% endif %}"
        f"<|im_start|>user\n{_QUESTION}<|im_end|>\n<|im_start|>assistant{{{{ '\\n' }}}}",
        "{{ answer }}<|im_end|>{% if eos_token != '<|im_end|>' %}{{ eos_token }}{% endif %}",
    ),
}
