"""Templates render the published texts, and mark exactly the responses as supervised."""

import copy

import pytest

from neft_ray.data.formats import Turn
from neft_ray.data.templates import Template
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
        ("{{ instruction", "data.template: .*; the variables are instruction and input"),
        ("{{ question }}", "'question' is undefined"),
        ("Q: {{ input }}", "leaves out the instruction; add {{ instruction }}"),
        ("{{ instruction.__class__.__mro__ }}", "unsafe"),
    ],
)
def test_a_template_that_cannot_work_is_refused_at_once(tokenizer, name, message):
    with pytest.raises(UserError, match=message):
        Template(name, tokenizer)


@pytest.mark.parametrize(
    "turns", [[*EXCHANGE, *EXCHANGE], [Turn("system", "Be brief."), *EXCHANGE], EXCHANGE[1:]]
)
def test_a_named_template_refuses_conversations_it_cannot_render(tokenizer, turns):
    with pytest.raises(UserError, match=r"has the roles .*use `template: chat`"):
        Template("alpaca", tokenizer).pieces(turns)
