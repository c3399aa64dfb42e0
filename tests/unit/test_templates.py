"""Templates render the published texts, and mark exactly the responses as supervised."""

import copy

import pytest

from neft_ray.data.conversation import Turn
from neft_ray.data.templates import Template, UnfitError
from neft_ray.errors import UserError

CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if m.role == 'assistant' %}"
    "{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
ASK = Turn("user", "Add.", "1 2")
EXCHANGE = [ASK, Turn("assistant", " three \n")]


@pytest.fixture
def chat_tokenizer(tokenizer):
    changed = copy.deepcopy(tokenizer)
    changed.chat_template = CHAT
    return changed


def test_alpaca_is_the_published_text_with_and_without_input(tokenizer):
    template = Template("alpaca", tokenizer)
    assert template.prompt([ASK]) == (
        "Below is an instruction that describes a task, paired with an input that provides "
        "further context. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:"
    )
    assert template.prompt([Turn("user", "Add 1 and 2.")]) == (
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAdd 1 and 2.\n\n### Response:"
    )


def test_question_puts_the_answer_on_the_line_of_its_mark(tokenizer):
    template = Template("question", tokenizer)
    assert template.prompt([ASK]) == "Question: Add.\n1 2\nAnswer:"
    assert template.prompt([Turn("user", "Why?")]) == "Question: Why?\nAnswer:"


def test_jinja_text_is_a_template(tokenizer):
    template = Template("Q {{ instruction }}{{ ' | ' + input if input }} A", tokenizer)
    assert template.prompt([ASK]) == "Q Add. | 1 2 A"
    assert template.prompt([Turn("user", "{{ instruction }}")]) == "Q {{ instruction }} A"


@pytest.mark.parametrize("name", ["alpaca", "question", "{{ instruction }}{{ input }} ="])
def test_response_is_supervised_with_its_end_of_text_and_the_prompt_is_not(tokenizer, name):
    template = Template(name, tokenizer)
    assert template.pieces(EXCHANGE) == [(template.prompt([ASK]), False), (" three</s>", True)]
    assert template.adds_special_tokens


def test_chat_supervises_every_assistant_turn_with_its_end_and_nothing_else(chat_tokenizer):
    template = Template("chat", chat_tokenizer)
    turns = [
        Turn("system", "Be brief."),
        ASK,
        Turn("assistant", "three"),
        Turn("user", "And 4?"),
        Turn("assistant", "seven"),
    ]
    assert template.pieces(turns) == [
        ("<system>Be brief.\n<user>Add.\n1 2\n<assistant>", False),
        ("three</s>\n", True),
        ("<user>And 4?\n<assistant>", False),
        ("seven</s>\n", True),
    ]
    assert template.prompt(turns[:2]) == "<system>Be brief.\n<user>Add.\n1 2\n<assistant>"
    assert not template.adds_special_tokens


def test_a_chat_template_that_rewrites_earlier_turns_is_refused(chat_tokenizer):
    chat_tokenizer.chat_template = "{{ messages | length }}" + CHAT
    with pytest.raises(UserError, match="rewrites earlier turns"):
        Template("chat", chat_tokenizer).pieces(EXCHANGE)


def test_a_chat_template_without_an_end_of_turn_is_refused(chat_tokenizer):
    chat_tokenizer.chat_template = CHAT.replace("{{ eos_token }}", "")
    with pytest.raises(UserError, match="writes nothing after an answer"):
        Template("chat", chat_tokenizer).pieces(EXCHANGE)


def test_a_row_with_an_input_is_refused_where_the_template_leaves_it_out(tokenizer):
    template = Template("Q: {{ instruction }}", tokenizer)
    assert template.prompt([Turn("user", "Why?")]) == "Q: Why?"
    with pytest.raises(UserError, match="leaves out the input that rows have"):
        template.pieces(EXCHANGE)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("chat", "has no chat template; use one of alpaca, question"),
        ("alpca", "'alpca' is neither a named template nor Jinja text"),
        ("{{ instruction", "data.template: .*; the variables are instruction, input, system"),
        ("{{ question }}", "'question' is undefined"),
        ("Q: {{ input }}", "leaves out the instruction; add {{ instruction }}"),
        ("{{ instruction.__class__.__mro__ }}", "unsafe"),
    ],
)
def test_a_template_that_cannot_work_is_refused_at_once(tokenizer, name, message):
    with pytest.raises(UserError, match=message):
        Template(name, tokenizer)


@pytest.mark.parametrize(
    ("wrong", "told"), [("nothing", "'nothing' is undefined"), ("1 / 0", "division by zero")]
)
def test_a_template_that_fails_for_some_rows_is_told_as_one_that_always_does(
    tokenizer, wrong, told
):
    text = "{{ instruction }}{% if not input %}{{ " + wrong + " }}{% endif %}"
    template = Template(text, tokenizer)
    with pytest.raises(UserError, match=f"data.template: {told}; the variables are instruction"):
        template.pieces([Turn("user", "Add."), Turn("assistant", "three")])


@pytest.mark.parametrize("turns", [[ASK, *EXCHANGE], [*EXCHANGE, EXCHANGE[1]], EXCHANGE[1:]])
def test_a_named_template_has_no_place_for_roles_that_do_not_alternate(tokenizer, turns):
    with pytest.raises(UnfitError, match="do not alternate"):
        Template("alpaca", tokenizer).pieces(turns)


SYSTEM = Turn("system", "Be brief.")
TALK = [SYSTEM, ASK, Turn("assistant", "three"), Turn("user", "Why?"), Turn("assistant", "So.")]


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        (
            "question",
            [
                ("Be brief.\n\nQuestion: Add.\n1 2\nAnswer:", False),
                (" three</s>", True),
                ("Question: Why?\nAnswer:", False),
                (" So.</s>", True),
            ],
        ),
        (
            "vicuna",
            [
                ("Be brief. USER: Add.\n1 2 ASSISTANT:", False),
                (" three</s>", True),
                ("USER: Why? ASSISTANT:", False),
                (" So.</s>", True),
            ],
        ),
        (
            "llama2-chat",
            [
                ("[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nAdd.\n1 2 [/INST]", False),
                (" three </s>", True),
                ("<s>[INST] Why? [/INST]", False),
                (" So. </s>", True),
            ],
        ),
        (
            "chatml",
            [
                (
                    "<|im_start|>system\nBe brief.<|im_end|>\n"
                    "<|im_start|>user\nAdd.\n1 2<|im_end|>\n<|im_start|>assistant\n",
                    False,
                ),
                ("three<|im_end|></s>", True),
                ("\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n", False),
                ("So.<|im_end|></s>", True),
            ],
        ),
    ],
)
def test_a_named_template_is_its_published_text_for_every_turn(tokenizer, name, pieces):
    assert Template(name, tokenizer).pieces(TALK) == pieces
    assert Template(name, tokenizer).prompt(TALK[:4]) == "".join(text for text, _ in pieces[:3])


def test_vicuna_has_a_system_message_of_its_own(tokenizer):
    assert Template("vicuna", tokenizer).prompt(TALK[3:4]) == (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. USER: Why? ASSISTANT:"
    )


def test_a_row_with_a_system_message_is_refused_where_the_template_leaves_it_out(tokenizer):
    with pytest.raises(UserError, match="leaves out the system that rows have"):
        Template("{{ instruction }}{{ input }}", tokenizer).pieces(TALK)
