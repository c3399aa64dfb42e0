"""Families of models: which names belong to one, its small configuration, its special tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from neft_ray.errors import bad_input

_LLAMA2_CHAT = (
    "{% for message in messages %}{% if message.role == 'user' %}"
    "{{ bos_token + '[INST] ' + message.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + message.content + ' ' + eos_token }}{% endif %}{% endfor %}"
)
_MISTRAL_CHAT = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}"
    "{{ '[INST] ' + message.content + '[/INST]' }}"
    "{% else %}{{ ' ' + message.content + eos_token }}{% endif %}{% endfor %}"
)
_LLAMA3_CHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}"
    "{{ message.content + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}"
    "{{ message.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_GEMMA_CHAT = (
    "{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' }}"
    "{{ ('model' if message.role == 'assistant' else message.role) + '\\n' }}"
    "{{ message.content + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 1024,
}
_OPT_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "word_embed_proj_dim": 64,
    "ffn_dim": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 1024,
}


@dataclass(frozen=True)
class Family:
    """Models of one architecture whose texts are written with the same special tokens.

    Attributes:
        names: Fits hub names and folders, in lower case; the first family that fits counts.
        chat_names: Likewise, of those of them that have a chat template.
        model_type: Of transformers' configuration class.
        sizes: Its arguments, for a model of some ten thousand parameters.
        first: The token in front of every text; None: there is none.
        last: The token at the end of a text.
        pad: The token that fills rows up.
        others: Further special tokens, which the chat template writes.
        chat_template: As Jinja text.
    """

    names: str
    chat_names: str
    model_type: str
    first: str | None
    last: str
    pad: str
    others: tuple[str, ...] = ()
    chat_template: str | None = None
    sizes: dict[str, Any] = field(default_factory=lambda: _SIZES)


FAMILIES = {
    "Llama 3": Family(
        *(r"llama-?_?3(?!\d)", r"instruct", "llama", "<|begin_of_text|>", "<|end_of_text|>"),
        "<|finetune_right_pad_id|>",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        _LLAMA3_CHAT,
    ),
    "Llama 1 and 2": Family(
        r"llama|vicuna|builtin:base", r"chat", "llama", "<s>", "</s>", "<pad>", (), _LLAMA2_CHAT
    ),
    "OPT": Family(r"(^|/)opt-", r"$^", "opt", "</s>", "</s>", "<pad>", sizes=_OPT_SIZES),
    "Mistral": Family(
        *(r"mistral", r"instruct", "mistral", "<s>", "</s>", "<pad>", ("[INST]", "[/INST]")),
        _MISTRAL_CHAT,
    ),
    "Qwen3": Family(
        *(r"qwen-?3", r"qwen-?3(?!.*base)", "qwen3", None, "<|endoftext|>", "<|pad|>"),
        ("<|im_start|>", "<|im_end|>"),
        _CHATML,
    ),
    "Gemma 3": Family(
        *(r"gemma-?3", r"-it\b", "gemma3_text", "<bos>", "<eos>", "<pad>"),
        ("<start_of_turn>", "<end_of_turn>"),
        _GEMMA_CHAT,
    ),
}
"""By what a person calls them."""


def family_of(path: str) -> tuple[str, Family]:
    """Return the family of a model by its hub name or folder, with what it is called.

    Raises:
        UserError: If none is known.
    """
    for name, family in FAMILIES.items():
        if re.search(family.names, path.lower()):
            return name, family
    what, known = "its name is that of no family that has a stand-in", ", ".join(FAMILIES)
    raise bad_input(path, what, f"known: {known}; or try a model of your own that is small")


def chats(family: Family, path: str) -> bool:
    """Tell whether a model comes with a chat template, by its name."""
    return re.search(family.chat_names, path.lower()) is not None
