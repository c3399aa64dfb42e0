"""What becomes of rows: masks of every format and template, trees, turns, tools."""

import copy
import json
from importlib import resources

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neft_ray.data.formats import read_conversations
from neft_ray.data.inspection import spans
from neft_ray.data.prepare import count
from neft_ray.data.wordings import WORDINGS
from neft_ray.errors import UserError
from tests.unit.example_rows import ROWS, ROWS_OF_TWO, answers

SAID = st.text("ab é?🦊日\n.", min_size=1, max_size=12).filter(str.strip)
TALK = st.lists(st.tuples(SAID, SAID), min_size=1, max_size=3)
CHAT = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def chat_tokenizer(tokenizer):
    changed = copy.deepcopy(tokenizer)
    changed.chat_template = CHAT
    return changed


@pytest.mark.parametrize("template", [*WORDINGS, "chat", "{{ instruction }}{{ input }} ="])
@pytest.mark.parametrize("format_name", ROWS)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(talk=TALK)
def test_exactly_answers_and_their_ends_are_targets(
    found, chat_tokenizer, format_name, template, talk
):
    rows = ROWS[format_name](talk)
    (row,) = found(rows, chat_tokenizer, format=format_name, template=template)
    num = len(talk) if format_name in ("messages", "sharegpt", "oasst") else 1
    before = "" if template in ("chat", "chatml") else " "
    after = {"chatml": "<|im_end|></s>", "llama2-chat": " </s>"}.get(template, "</s>")
    said = [answer if template == "chat" else answer.strip() for _, answer in talk[:num]]
    assert answers(row, chat_tokenizer) == [f"{before}{text}{after}" for text in said]


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=SAID)
def test_all_of_a_plain_text_is_a_target_with_its_end(found, tokenizer, text):
    (row,) = found([{"text": text}], format="text")
    assert spans(row, tokenizer) == [("<s>", False), (f"{text}</s>", True)]


def test_of_a_tree_the_best_ranked_path_is_the_conversation(found, tokenizer):
    def message(key, parent, role, rank=None, **more):
        known = {"message_id": key, "parent_id": parent, "role": role, "rank": rank, "text": key}
        return known | more

    rows = [
        message("deep", "best", "prompter", 0),
        message("root", None, "prompter"),
        message("worst", "root", "assistant", 2),
        message("gone", "root", "assistant", 0, deleted=True),
        message("best", "root", "assistant", 1),
        message("end", "deep", "assistant"),
        message("alone", None, "prompter"),
    ]
    kept, alone = found(rows, format="oasst", template="question")
    assert [turn.text for turn in kept.conversation.turns] == ["root", "best", "deep", "end"]
    assert kept.conversation.place.endswith("row 2")
    assert alone.dropped == "no response"
    with pytest.raises(UserError, match="row 1: 'parent_id' is no message of these rows"):
        found(rows[:1], format="oasst")


def test_a_tree_in_a_table_of_texts_is_read_as_one_of_numbers(tmp_path):
    file = tmp_path / "rows.csv"
    lines = ["a,,prompter,,False", "b,a,assistant,1,False", "c,a,assistant,0,True"]
    lines += ["d,a,assistant,0,False", "e,a,assistant,nan,False"]
    head = "message_id,parent_id,role,rank,deleted,text"
    file.write_text("\n".join([head, *(f"{line},{line[0]}" for line in lines)]))
    (tree,) = read_conversations(str(file), "oasst")
    assert [turn.text for turn in tree.turns] == ["a", "d"]
    file.write_text(f"{head}\na,,prompter,best,False,a\n")
    with pytest.raises(UserError, match="row 1: 'rank' is 'best', not a number"):
        read_conversations(str(file), "oasst")


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ("all", [[" So.</s>", " Now.</s>"]]),
        ("first", [[" So.</s>"]]),
        ("each", [[" So.</s>"], [" Now.</s>"]]),
    ],
)
def test_turns_are_one_row_or_the_first_or_each_its_own(found, tokenizer, turns, expected):
    rows = found(ROWS_OF_TWO, format="sharegpt", template="vicuna", turns=turns)
    assert [answers(row, tokenizer) for row in rows] == expected
    assert len({row.key for row in rows}) == len({row.split for row in rows}) == 1


@pytest.mark.parametrize("turns", ["first", "each"])
def test_a_single_question_is_one_whatever_was_said_before(found, chat_tokenizer, turns):
    greeted = [{"from": "gpt", "value": "Hello."}, *ROWS_OF_TWO[0]["conversations"]]
    rows = found(
        [{"conversations": greeted}], chat_tokenizer, format="sharegpt", template="chat",
        turns=turns,
    )  # fmt: skip
    assert rows[0].conversation.turns[0].text == "Why?"
    assert len(rows) == {"first": 1, "each": 2}[turns]
    assert count(rows[:1])["cut: answers before the first question"] == 1


CALL = {"name": "weather", "arguments": {"city": "Rome"}}
TOOL = {"name": "weather", "description": "Tells it.", "parameters": {"type": "object"}}


@pytest.mark.parametrize("as_text", [False, True])
def test_tools_reach_a_published_chat_template(found, tokenizer, as_text):
    changed = copy.deepcopy(tokenizer)
    template = resources.files("trl") / "chat_templates" / "qwen2_5.jinja"
    changed.chat_template = template.read_text()
    arguments = json.dumps(CALL["arguments"]) if as_text else CALL["arguments"]
    call = {"id": "1", "type": "function", "function": {**CALL, "arguments": arguments}}
    row = {
        "tools": json.dumps([TOOL]) if as_text else [TOOL],
        "messages": [
            {"role": "user", "content": "How is Rome?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "Sunny"},
            {"role": "assistant", "content": "It is sunny."},
        ],
    }
    (shown,) = found([row], changed, format="messages", template="chat", max_length_tokens=4096)
    called, told = answers(shown, changed)
    assert json.loads(called.split("\n")[1]) == CALL
    assert told == "It is sunny.<|im_end|>\n"
    before = spans(shown, changed)[0][0]
    assert '"function": {"name": "weather", "description": "Tells it."' in before
    assert "<tool_response>\nSunny" in spans(shown, changed)[2][0]
    with pytest.raises(UserError, match="has no place for tools"):
        found([row], format="messages", template="vicuna")
