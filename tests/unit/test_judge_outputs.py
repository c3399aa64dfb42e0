"""Files of outputs in AlpacaEval's format, their pairing, and figures of published ones."""

import json

import pytest

from neft_ray.errors import UserError
from neft_ray.judge import (
    Output,
    Outputs,
    compare_texts,
    load_prompt,
    pair_outputs,
    read_outputs,
    write_outputs,
)
from neft_ray.judge.texts import figures_of

ROW = {"dataset": "set", "instruction": "do", "output": "done", "generator": "model"}


def written(folder, content):
    file = folder / "outputs.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_what_is_written_is_read_back(tmp_path):
    rows = (Output("do", "", "set"), Output("“this”\n", "<b>\u0000 \ud800 ünï"))
    outputs = Outputs("model", rows)
    write_outputs(tmp_path / "outputs.json", outputs)
    assert read_outputs(tmp_path / "outputs.json") == outputs
    content = json.loads((tmp_path / "outputs.json").read_text())
    assert content[0] == ROW | {"output": ""}


def test_a_file_may_begin_as_windows_writes_it(tmp_path):
    rows = [{"instruction": "do", "output": "ä\r\nb", "generator": "ours"}]
    (tmp_path / "ours.json").write_bytes(json.dumps(rows).encode("utf-8-sig"))
    assert read_outputs(tmp_path / "ours.json").rows == (Output("do", "ä\r\nb"),)
    text = "{{ instruction }} {{ output_1 }} {{ output_2 }}"
    (tmp_path / "mine.jinja").write_bytes(text.encode("utf-8-sig"))
    assert load_prompt(tmp_path / "mine.jinja").render("do", "x", "y") == "do x y"


def test_further_keys_are_passed_over_and_a_set_may_be_missing(tmp_path):
    row = {key: value for key, value in ROW.items() if key != "dataset"} | {"time": 3}
    assert read_outputs(written(tmp_path, [row])).rows == (Output("do", "done"),)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "outputs.json: is not JSON"),
        ({}, "outputs.json: is no list of outputs; write [{dataset,"),
        ([], "outputs.json: is an empty list"),
        ([ROW, "text"], "outputs.json: row 2: is text"),
        ([ROW | {"output": None}], "row 1: output: is null; write text"),
        ([ROW | {"output": 3}], "row 1: output: is a number"),
        ([ROW | {"instruction": " "}], "row 1: instruction: is empty"),
        ([ROW | {"dataset": ["a"]}], "row 1: dataset: is a list"),
        ([{"instruction": "a", "output": "b"}], "row 1: generator: is missing"),
        ([ROW, ROW | {"output": "x"}], "row 2: instruction: the same as in row 1"),
        (
            [ROW, ROW | {"instruction": "x", "generator": "other"}],
            "row 2: generator: 'other', but the rows before are of 'model'",
        ),
    ],
)
def test_a_bad_file_is_refused_with_row_and_key(tmp_path, content, says):
    with pytest.raises(UserError) as raised:
        read_outputs(written(tmp_path, content))
    assert says in str(raised.value)
    assert len(raised.value.problems) == 1


def test_all_problems_are_told_but_not_thousands(tmp_path):
    with pytest.raises(UserError) as raised:
        read_outputs(written(tmp_path, [{}] * 100))
    *first, last = map(str, raised.value.problems)
    assert len(first) == 10
    assert "290 more problems" in last


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_outputs(tmp_path / "none.json")


def test_outputs_are_paired_by_instruction_and_the_rest_is_told():
    ours = Outputs("ours", (Output("b", "B"), Output("a", "A"), Output("alone", "x")))
    theirs = Outputs("theirs", (Output("a", "α"), Output("c", "γ"), Output("b", "β")))
    pairing = pair_outputs(ours, theirs)
    assert [(p.instruction, p.system, p.reference) for p in pairing.pairs] == [
        ("b", "B", "β"),
        ("a", "A", "α"),
    ]
    assert (pairing.system_alone, pairing.reference_alone) == (("alone",), ("c",))
    assert pairing.sentence() == (
        "2 prompts have outputs of both ours and theirs; "
        "left out: 1 of ours alone and 1 of theirs alone"
    )


def test_systems_of_one_name_are_told_apart():
    one, other = (Outputs("model", (Output("a", text),)) for text in "xy")
    pairing = pair_outputs(one, other)
    assert (pairing.system, pairing.reference) == ("model", "model (reference)")


def test_outputs_for_other_prompts_are_refused():
    one, other = (Outputs(name, (Output(name, "x"),)) for name in ("a", "b"))
    with pytest.raises(UserError, match="no instruction in common"):
        pair_outputs(one, other)


def test_repetition_is_compared_where_both_texts_are_long():
    long, loop, short = " ".join(map(str, range(60))), "word " * 60, "again again again"
    ours = Outputs("ours", (Output("a", long), Output("b", loop), Output("c", loop)))
    theirs = Outputs("theirs", (Output("a", loop), Output("b", short), Output("c", loop)))
    texts = compare_texts(pair_outputs(ours, theirs))
    assert (texts.num, texts.num_long) == (3, 2)
    assert texts.system.words == 60
    assert texts.reference.words == pytest.approx((60 + 3 + 60) / 3)
    assert texts.system.repetition == pytest.approx(figures_of(loop).repetition / 2)
    assert texts.reference.repetition == pytest.approx(figures_of(loop).repetition)


def test_without_long_texts_repetition_is_unknown():
    one, other = (Outputs(name, (Output("a", "short text"),)) for name in ("x", "y"))
    texts = compare_texts(pair_outputs(one, other))
    assert texts.num_long == 0
    assert texts.system.repetition is texts.reference.log_diversity is None


def test_published_outputs_have_their_published_figures(real_data):
    folder = real_data / "alpaca_eval"
    plain, neft, reference = (
        read_outputs(folder / f"{name}.json")
        for name in ("alpaca-7b", "alpaca-7b-neft", "text_davinci_003")
    )
    texts = compare_texts(pair_outputs(neft, plain))
    assert (texts.num, texts.num_long) == (805, 462)
    assert round(texts.system.characters, 1) == 1067.5
    assert round(texts.reference.characters, 1) == 396.3
    assert round(texts.system.repetition, 4) == 0.0107
    assert round(texts.reference.repetition, 4) == 0.0493
    against = compare_texts(pair_outputs(neft, reference))
    assert (against.num, round(against.reference.characters, 1)) == (805, 308.0)
