"""Completion in the shell: commands, runs, recipes; without loading what takes seconds."""

import os
import subprocess
import sys

import pytest

CODE = "import sys; from neft_ray.cli.app import app; app(prog_name='neft-ray')"


def completed(words, folder):
    """What bash is offered for the last of some words."""
    environment = {
        **os.environ,
        "_NEFT_RAY_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, cwd=folder, capture_output=True, text=True
    )
    return done.stdout.split()


@pytest.fixture
def folder(tmp_path):
    for name in ("alpaca-1", "alpaca-2", "other"):
        run = tmp_path / "runs" / name
        run.mkdir(parents=True)
        (run / "manifest.json").write_text("{}")
    (tmp_path / "my.yaml").write_text("")
    return tmp_path


def test_runs_recipes_and_files_are_offered(folder):
    assert completed("neft-ray status alp", folder) == ["alpaca-1", "alpaca-2"]
    assert completed("neft-ray chat la", folder) == ["latest"]
    assert completed("neft-ray sweep paper/opt-6.7b-o", folder) == ["paper/opt-6.7b-open-platypus"]
    assert completed("neft-ray plan my", folder) == ["my.yaml"]
    assert "evaluate" in completed("neft-ray eval", folder)
