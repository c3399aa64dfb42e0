"""Rows of every format become conversations; whatever is wrong names its file and row."""

import csv
import json

import pytest
from datasets import Dataset

from neft_ray.data.conversation import Turn
from neft_ray.data.formats import FORMATS, read_conversations
from neft_ray.data.read import PlacedRow, builtin_data
from neft_ray.errors import UserError

ROW = {"instruction": "Add.", "input": "1 2", "output": "three"}
TURNS = [Turn("user", "Add.", "1 2"), Turn("assistant", "three")]


def write_lines(file, *rows) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(file)


def chat(*messages) -> dict:
    return {"messages": [{"role": role, "content": text} for role, text in messages]}


def turns_of(format_name, row) -> list[Turn]:
    (found,) = FORMATS[format_name]([PlacedRow("here", row)])
    return found.turns


def problems(source, format_name="alpaca") -> list[str]:
    with pytest.raises(UserError) as caught:
        read_conversations(str(source), format_name)
    return [f"{problem.where}: {problem.what}" for problem in caught.value.problems]


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, kind):
    rows, file = [ROW, {**ROW, "input": "", "output": "é\n🦊"}], tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        write_lines(file, *rows)
    elif kind == "json":
        file.write_text(json.dumps(rows), encoding="utf-8")
    elif kind == "csv":
        with file.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.DictWriter(opened, ROW)
            writer.writeheader()
            writer.writerows(rows)
    else:
        Dataset.from_list(rows).to_parquet(file)
    second = [Turn("user", "Add."), Turn("assistant", "é\n🦊")]
    assert [found.turns for found in read_conversations(str(file), "alpaca")] == [TURNS, second]


@pytest.mark.parametrize("name", ["rows[1]", "rows*"])
def test_a_file_is_read_by_its_name_whatever_it_is(tmp_path, name):
    for file in (name, "rows1", "rows2"):
        Dataset.from_list([{**ROW, "output": file}]).to_parquet(tmp_path / f"{file}.parquet")
    (found,) = read_conversations(str(tmp_path / f"{name}.parquet"), "alpaca")
    assert found.turns[1].text == name


def test_a_folder_is_all_its_files_in_the_order_of_their_names(tmp_path):
    for name in ("b", "a"):
        write_lines(tmp_path / f"{name}.jsonl", {**ROW, "output": name})
    (tmp_path / "README.md").write_text("not data")
    outputs = [found.turns[1].text for found in read_conversations(str(tmp_path), "alpaca")]
    assert outputs == ["a", "b"]


def test_alpaca_input_may_be_missing_or_empty():
    for row in ({"instruction": "Say a.", "output": "a"}, {**ROW, "input": None}):
        assert turns_of("alpaca", row)[0].context == ""


def test_prompt_and_response():
    turns = [Turn("user", "a"), Turn("assistant", "b")]
    assert turns_of("prompt_response", {"prompt": "a", "response": "b", "other": 1}) == turns


def test_messages_keep_their_order_and_roles():
    pairs = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    assert turns_of("messages", chat(*pairs)) == [Turn(role, text) for role, text in pairs]


@pytest.mark.parametrize(
    ("format_name", "row", "what"),
    [
        ("alpaca", {"instruction": "a"}, "'output' is missing"),
        ("alpaca", {**ROW, "output": ["a"]}, "'output' is not text"),
        ("alpaca", {**ROW, "input": 3}, "'input' is not text"),
        ("alpaca", {"prompt": "a", "response": "b"}, "'instruction' is missing"),
        ("prompt_response", {"response": "b"}, "'prompt' is missing"),
        ("dolly", {"instruction": "a", "output": "b"}, "'response' is missing"),
        ("text", {"prompt": "a"}, "'text' is missing"),
        ("sharegpt", {"conversations": [{"from": "cat", "value": "a"}]}, "message 0 is from 'cat'"),
        (
            "sharegpt",
            {"conversations": [{"from": "human", "value": "a"}]},
            "no message is from 'gpt'",
        ),
        ("messages", {"messages": []}, "'messages' is missing or not a list"),
        ("messages", {"messages": "hello"}, "'messages' is missing or not a list"),
        ("messages", {"messages": ["hello"]}, "messages[0] is not an object"),
        ("messages", chat(("user", "a"), ("cat", "b")), "message 1 has the role 'cat'"),
        ("messages", chat(("user", "a"), ("assistant", None)), "'content' is missing"),
        ("messages", chat(("user", "a")), "no message has the role 'assistant'"),
    ],
)
def test_a_wrong_row_is_named_with_what_is_wrong(tmp_path, format_name, row, what):
    good = {"alpaca": ROW, "prompt_response": {"prompt": "a", "response": "b"}}
    good["messages"] = chat(("user", "a"), ("assistant", "b"))
    good["dolly"] = {"instruction": "a", "response": "b"}
    good["text"] = {"text": "a"}
    said = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    good["sharegpt"] = {"conversations": said}
    source = write_lines(tmp_path / "rows.jsonl", good[format_name], row, good[format_name])
    assert problems(source, format_name) == [f"{source}: row 2: {what}"]


def test_wrong_rows_are_named_together_but_not_without_end(tmp_path):
    source = write_lines(tmp_path / "rows.jsonl", ROW, *[{**ROW, "output": 1}] * 50)
    named = problems(source)
    assert len(named) == 20
    assert named[0].startswith(f"{source}: row 2:")
    assert named[-1].startswith(f"{source}: row 21:")


@pytest.mark.parametrize("damage", ['{"instruction": ', "no json", "7", '["a"]'])
def test_a_malformed_line_is_named(tmp_path, damage):
    source = write_lines(tmp_path / "rows.jsonl", ROW, damage, ROW)
    assert problems(source) == [f"{source}:2: is not a JSON object"]


def test_a_line_that_is_not_utf8_is_named(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(json.dumps(ROW).encode() + b'\n{"instruction": "caf\xe9", "output": "b"}\n')
    assert problems(file) == [f"{file}:2: is not a JSON object"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", ""),
        ("rows.jsonl", "\n\n"),
        ("rows.json", "[]"),
        ("rows.json", "5"),
        ("rows.json", "[{]"),
        ("rows.csv", "instruction,output\n"),
        ("rows.csv", 'instruction,output\n"a,b\n'),
        ("rows.parquet", "no parquet"),
        ("rows.txt", "a"),
    ],
)
def test_a_file_without_readable_rows_is_an_error_that_names_it(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    (problem,) = problems(tmp_path / name)
    assert problem.startswith(f"{tmp_path / name}: ")


def test_an_empty_or_mixed_folder_is_an_error(tmp_path):
    assert problems(tmp_path) == [f"{tmp_path}: has no data files"]
    write_lines(tmp_path / "a.jsonl", ROW)
    (tmp_path / "b.csv").write_text("instruction,output\na,b\n")
    assert problems(tmp_path) == [f"{tmp_path}: mixes kinds of files"]


@pytest.mark.parametrize("source", ["./rows.jsonl", "/no/such/rows", "rows.csv", "builtin:other"])
def test_a_source_that_is_not_there_is_an_error_that_names_it(source):
    (problem,) = problems(source)
    assert problem.startswith(f"{source}: no such ")


def test_a_hub_name_that_cannot_be_reached_is_an_error_that_names_it():
    (problem,) = problems("nobody/nothing")
    assert problem.startswith("nobody/nothing: cannot be read: ")


@pytest.mark.parametrize("part", ["train", "held_out"])
def test_builtin_data_is_what_its_files_say(part):
    conversations = read_conversations("builtin:tales", "alpaca", part)
    lines = builtin_data(part).read_text(encoding="utf-8").splitlines()
    assert [c.turns for c in conversations] == [turns_of("alpaca", json.loads(x)) for x in lines]


def test_a_question_can_be_put_into_a_set():
    called = Turn("assistant", "", extra={"tool_calls": [{"name": "a"}]})
    assert len({called, called, Turn("user", "a"), Turn("user", "a")}) == 2
