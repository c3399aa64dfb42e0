"""Sets of prompts: what each format asks, and what is said of a file that is none."""

import json

import pytest

from neft_ray.errors import UserError
from neft_ray.evaluate.sets import load_set

ALPACA = [
    {"dataset": "a", "instruction": "Name two.", "output": "One, two.", "generator": "them"},
    {"dataset": "b", "instruction": "Sort.", "input": "3 1", "output": "1 3", "generator": "them"},
]
MT_BENCH = [{"question_id": 81, "category": "writing", "turns": ["First?", "Then?"]}]
IFEVAL = [
    {"key": 1, "prompt": "No commas.", "instruction_id_list": ["punctuation:no_comma"],
     "kwargs": [{}]}
]  # fmt: skip


def write(path, rows, lines=False):
    text = "\n".join(map(json.dumps, rows)) + "\n" if lines else json.dumps(rows)
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("lines", [True, False])
def test_a_kind_is_known_by_its_keys(tmp_path, lines):
    for rows, kind, first in (
        (ALPACA, "alpaca_eval", ["Name two."]),
        (MT_BENCH, "mt_bench", ["First?", "Then?"]),
        (IFEVAL, "ifeval", ["No commas."]),
        ([{"prompt": "Say."}], "prompts", ["Say."]),
        ([{"messages": [{"role": "user", "content": "Who?"}]}], "prompts", ["Who?"]),
        ([{"conversations": [{"from": "human", "value": "Why?"}]}], "prompts", ["Why?"]),
    ):
        found = load_set(write(tmp_path / ("my.jsonl" if lines else "my.json"), rows, lines))
        assert (found.kind, found.name, len(found.prompts)) == (kind, "my", len(rows))
        assert [turn.text for turn in found.prompts[0].questions] == first


def test_instructions_are_named_as_alpaca_eval_names_them(tmp_path):
    found = load_set(write(tmp_path / "x.json", ALPACA))
    assert [found.instruction(number) for number in range(2)] == ["Name two.", "Sort.\n\n3 1"]
    assert found.prompts[1].questions[0].context == "3 1"
    talks = load_set(write(tmp_path / "y.json", MT_BENCH))
    assert talks.instruction(0) == "[Turn 1] First?\n\n[Turn 2] Then?"


def test_the_outputs_of_a_set_are_those_of_all_its_rows(tmp_path):
    found = load_set(write(tmp_path / "x.json", ALPACA)).outputs
    assert found is not None and found.name == "them"
    assert [row.output for row in found.rows] == ["One, two.", "1 3"]
    lacking = [ALPACA[0], {"instruction": "More?"}]
    assert load_set(write(tmp_path / "y.json", lacking)).outputs is None


def test_the_content_not_the_name_tells_sets_apart(tmp_path):
    one = load_set(write(tmp_path / "x.json", ALPACA))
    again = load_set(write(tmp_path / "y.jsonl", ALPACA, lines=True))
    fewer = load_set(write(tmp_path / "x.json", ALPACA), max_prompts=1)
    assert one.content_hash == again.content_hash != fewer.content_hash
    assert len(fewer.prompts) == len(fewer.rows) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("[]", "has no rows"),
        ("[1]", "row 1: is not a JSON object"),
        ('{"prompt": "a"}\nnonsense\n', "x.json:2: is not a JSON object"),
        ("[{", "cannot be read"),
        ('[{"question": "a"}]', "row 1: has the keys question, none of them a prompt's"),
        ('[{"prompt": "a"}, {"prompt": " "}]', "row 2: asks nothing: its prompt is empty"),
        ('[{"prompt": "a"}, {"prompt": 3}]', "row 2: 'prompt' is not text"),
        ('[{"turns": []}]', "row 1: 'turns' is not a list of texts"),
        ('[{"turns": ["a", 2]}]', "row 1: 'turns' is not a list of texts"),
        ('[{"prompt": "a"}, {"prompt": "a"}]', "row 2: asks what"),
        ('[{"prompt": "a"}, {"turns": ["b"]}]', "row 2: is of kind mt_bench, and the rows before"),
        ('[{"messages": [{"role": "assistant", "content": "Hi."}]}]', "row 1: asks nothing before"),
        (json.dumps([{"messages": [{"role": "system", "content": "Be."},
                                   {"role": "user", "content": "Who?"},
                                   {"role": "assistant", "content": "Mia."}]}]),
         "row 1: has messages that are not a user's"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_set_is_refused_with_its_place(tmp_path, text, told):
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(UserError) as error:
        load_set(str(file))
    assert told in str(error.value)


def test_the_built_in_rows_are_a_set_that_needs_no_hub():
    found = load_set("builtin:tales", max_prompts=5)
    assert (found.name, found.kind, len(found.prompts)) == ("builtin-tales", "alpaca_eval", 5)


def test_a_published_set_that_cannot_be_fetched_says_what_to_do():
    with pytest.raises(UserError, match=r"alpaca_eval: cannot be fetched .* name its file"):
        load_set("alpaca_eval")
    with pytest.raises(UserError, match=r"alpaca_evil: cannot be read: .*check the name"):
        load_set("alpaca_evil")


def test_the_real_sets_are_read(real_data):
    found = {
        name: load_set(str(real_data / file))
        for name, file in (
            ("ifeval", "ifeval_input_data.jsonl"),
            ("mt_bench", "mt_bench_question.jsonl"),
            ("alpaca_eval", "alpaca_eval/text_davinci_003.json"),
        )
    }
    assert {name: (it.kind, len(it.prompts)) for name, it in found.items()} == {
        "ifeval": ("ifeval", 541), "mt_bench": ("mt_bench", 80), "alpaca_eval": ("alpaca_eval", 805)
    }  # fmt: skip
    assert {len(prompt.questions) for prompt in found["mt_bench"].prompts} == {2}
