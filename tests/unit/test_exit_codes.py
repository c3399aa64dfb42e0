"""The exit codes that every help page promises."""

import pytest
import typer
from typer.testing import CliRunner

from neft_ray.cli import main
from neft_ray.cli.app import app
from neft_ray.errors import ExitCode

COMMANDS = sorted(typer.main.get_command(app).commands)


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_every_help_page_names_the_exit_codes(command):
    told = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    text = " ".join(told.output.split())
    assert told.exit_code == ExitCode.OK
    for code in ExitCode:
        assert f" {int(code)} " in text[text.index("Exit codes") :]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["validate", "no-such-file.yaml"], ExitCode.BAD_INPUT),
        (["ls", "--no-such-option"], ExitCode.BAD_INPUT),
        (["status", "no-such-run"], ExitCode.BAD_INPUT),
        (["--version"], ExitCode.OK),
    ],
)
def test_a_command_ends_with_its_code(arguments, code, monkeypatch):
    monkeypatch.setattr("sys.argv", ["neft-ray", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code


def test_an_interrupted_command_ends_with_130(monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("neft_ray.cli.look.find_runs", interrupt)
    monkeypatch.setattr("sys.argv", ["neft-ray", "ls"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == ExitCode.INTERRUPTED
