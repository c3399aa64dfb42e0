"""`neft-ray init`: a file that loads, with settings that follow from the data."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from neft_ray.cli.app import app
from neft_ray.config.load import load_sweep
from neft_ray.data.read import builtin_data
from neft_ray.errors import UserError
from neft_ray.pipeline.session import open_data
from neft_ray.plan import make_plan

ROWS = {
    "alpaca": {"instruction": "Who?", "output": "Mia."},
    "prompt_response": {"prompt": "Who?", "response": "Mia."},
    "messages": {"messages": [{"role": "user", "content": "Who?"},
                              {"role": "assistant", "content": "Mia."}]},
    "sharegpt": {"conversations": [{"from": "human", "value": "Who?"},
                                   {"from": "gpt", "value": "Mia."}]},
    "dolly": {"instruction": "Who?", "context": "", "response": "Mia."},
    "text": {"text": "Mia left."},
}  # fmt: skip


def init(file, *arguments):
    done = CliRunner().invoke(app, ["init", str(file), *map(str, arguments)])
    if isinstance(done.exception, UserError):
        raise done.exception
    return done


def rows_file(tmp_path, row, num=40, name="rows.jsonl"):
    file = tmp_path / name
    file.write_text("".join(json.dumps(row) + "\n" for _ in range(num)))
    return file


@pytest.mark.parametrize("kind", ROWS)
def test_the_format_is_known_by_the_rows(tmp_path, kind):
    data = rows_file(tmp_path, ROWS[kind])
    init(tmp_path / "my.yaml", "--model", "builtin:base", "--data", data)
    config = load_sweep(tmp_path / "my.yaml")
    assert config.data.format == kind and config.name == "my"
    assert make_plan(config, 100, 1000).arms


@pytest.mark.parametrize(
    ("file", "name"),
    [("my sweep (1).yaml", "my-sweep-1"), ("_a.b_.yaml", "a.b"), ("ä.yaml", "sweep")],
)
def test_a_file_may_have_any_name(tmp_path, file, name):
    data = rows_file(tmp_path, ROWS["text"])
    assert init(tmp_path / file, "--model", "builtin:base", "--data", data).exit_code == 0
    assert load_sweep(tmp_path / file).name == name


def test_settings_follow_from_the_data(tmp_path):
    data = tmp_path / "rows.jsonl"
    shutil.copy(builtin_data("train"), data)
    told = init(tmp_path / "my.yaml", "--model", "builtin:base", "--data", data, "--gpus", 1).output
    config = load_sweep(tmp_path / "my.yaml")
    assert config.data.max_length_tokens == 128, "the longest row has 91 tokens"
    assert config.model.dtype == "bfloat16" and config.workers.gpus == 1
    assert config.batch.size_examples == 16 and config.data.template == "question"
    assert "neft-ray sweep" in told
    schema = json.loads((tmp_path / "sweep.schema.json").read_text())
    assert "sweep" in schema["properties"]
    assert (
        (tmp_path / "my.yaml")
        .read_text()
        .startswith("# yaml-language-server: $schema=sweep.schema.json\n")
    )


def test_rows_longer_than_the_model_s_context_are_cut_to_it(tmp_path):
    texts = [f"Mia {n} left. " * (200 if n < 10 else 1) for n in range(100)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    init(tmp_path / "my.yaml", "--model", "builtin:base", "--data", data)
    config = load_sweep(tmp_path / "my.yaml", [f"storage={tmp_path}"])
    assert config.data.max_length_tokens == 256
    text = (tmp_path / "my.yaml").read_text()
    assert "# 90 of 100 rows fit into the model's context; half have" in text
    assert open_data(config).data(config.trial).summary["longest_tokens"] == 256


def test_data_of_which_no_row_can_be_used_is_refused(tmp_path):
    data = rows_file(tmp_path, {"instruction": "Who?", "output": ""})
    with pytest.raises(
        UserError, match="no row can be used: an empty message; mend the rows, or name"
    ):
        init(tmp_path / "my.yaml", "--model", "builtin:base", "--data", data)
    assert not (tmp_path / "my.yaml").exists()


@pytest.mark.parametrize("name", ["of: Mia #1.jsonl", 'it\'s "here".jsonl', "Zeilen {ü}.jsonl"])
@pytest.mark.parametrize("template", [None, "{{ instruction }} #\n{{ input }}: "])
def test_names_and_templates_may_have_any_characters(name, template, tmp_path):
    data = rows_file(tmp_path, ROWS["alpaca"], name=name)
    given = ["--template", template] if template else []
    file = tmp_path / "my first: try.yaml"
    init(file, "--model", "builtin:base", "--data", data, *given)
    config = load_sweep(file)
    assert (config.data.train, config.data.template) == (str(data), template or "question")
    assert config.name == "my-first-try"


@pytest.mark.parametrize("name", ["1e-4", "null", "...", "ü"])
def test_the_name_of_a_file_is_no_number_or_word_of_yaml(name, tmp_path):
    data = rows_file(tmp_path, ROWS["alpaca"])
    init(tmp_path / f"{name}.yaml", "--model", "builtin:base", "--data", data)
    wanted = name if name.isascii() and name[0].isalnum() else "sweep"
    assert load_sweep(tmp_path / f"{name}.yaml").name == wanted


def test_nothing_is_overwritten_unasked(tmp_path):
    file, data = tmp_path / "my.yaml", rows_file(tmp_path, ROWS["alpaca"])
    file.write_text("mine")
    with pytest.raises(UserError, match=r"is there already; .*--force"):
        init(file, "--model", "builtin:base", "--data", data)
    assert file.read_text() == "mine"
    init(file, "--model", "builtin:base", "--data", data, "--force")
    assert load_sweep(file)


def test_what_is_missing_or_unknown_is_told(tmp_path):
    with pytest.raises(UserError, match=r"--model is not given"):
        init(tmp_path / "my.yaml")
    data = rows_file(tmp_path, {"question": "Who?", "answer": "Mia."})
    with pytest.raises(UserError, match=r"keys answer, question; rename .*alpaca: instruction"):
        init(tmp_path / "my.yaml", "--model", "builtin:base", "--data", data)
    assert not (tmp_path / "my.yaml").exists()


def test_the_schema_is_printed():
    told = CliRunner().invoke(app, ["schema"])
    assert json.loads(told.output)["$schema"].startswith("https://json-schema.org/")
