"""The exit codes that every help page promises."""

import errno

import pytest
import typer
from typer.testing import CliRunner

from neft_ray.cli import main
from neft_ray.cli.app import app
from neft_ray.errors import ExitCode, LostContactError, Problem, StorageError, bad_input

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


@pytest.mark.parametrize(
    ("what", "code"),
    [
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (bad_input("file", "is wrong", "mend it"), ExitCode.BAD_INPUT),
        (StorageError.of("file", OSError(errno.ENOSPC, "")), ExitCode.FAILED),
        (LostContactError([Problem("head", "is gone", "wait")]), ExitCode.FAILED),
    ],
)
def test_what_ends_a_command_early_is_its_code(what, code, monkeypatch):
    def end(*args):
        raise what

    monkeypatch.setattr("neft_ray.cli.look.find_runs", end)
    monkeypatch.setattr("sys.argv", ["neft-ray", "ls"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
