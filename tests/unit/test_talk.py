"""The command that talks to models: what they wrote is shown as it is."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from neft_ray.cli.app import app
from neft_ray.config.trial import ModelConfig
from neft_ray.errors import UserError
from neft_ray.pipeline.sides import Side


class Says:
    """A model that says the same to everything."""

    def __init__(self, model, template):
        pass

    def answer(self, question, max_new_tokens, write):
        for piece in (f"to {question}: ", "[bold]a :key: b[/] ", "\x1b[2J", "\x9b2J"):
            write(piece)


@pytest.mark.parametrize("against", [(), ("--against", "other")])
def test_an_answer_is_shown_as_it_was_written_and_steers_nothing(monkeypatch, against):
    def side(reference, storage: Path, template):
        return Side(reference, ModelConfig(path=reference), "question")

    monkeypatch.setattr("neft_ray.pipeline.sides.find_side", side)
    monkeypatch.setattr("neft_ray.generate.Chat", Says)
    done = CliRunner().invoke(app, ["chat", *against], input="hi\n\n", env={"COLUMNS": "120"})
    assert done.exit_code == 0, done.output
    assert done.output.count("to hi: [bold]a :key: b[/] ␛[2J␛[2J") == 1 + bool(against)
    assert not {"\x1b", "\x9b"} & set(done.output)


def test_a_model_is_not_set_beside_itself(monkeypatch):
    """As `--against control` asks where the best trial is the control's."""

    def side(reference, storage: Path, template):
        return Side(f"t005 of {reference}", ModelConfig(path="runs/a/best_model"), "question")

    monkeypatch.setattr("neft_ray.pipeline.sides.find_side", side)
    monkeypatch.setattr("neft_ray.generate.Chat", Says)
    done = CliRunner().invoke(app, ["chat", "latest", "--against", "control"], input="hi\n\n")
    assert isinstance(done.exception, UserError) and "the model itself" in str(done.exception)
    assert "to hi" not in done.output
