"""A user error names place, problem and remedy, and survives the way between processes."""

import errno
import pickle

import pytest

from neft_ray.errors import ExitCode, Problem, StorageError, UserError, bad_input, did_you_mean

PROBLEMS = [Problem("a.yaml:3: x", "is odd", "make it even"), Problem("data", "is empty", "fill")]


def test_an_error_lists_every_problem_with_place_and_remedy_on_a_line_of_its_own():
    assert str(UserError(PROBLEMS)) == "a.yaml:3: x: is odd; make it even\ndata: is empty; fill"


def test_an_error_crosses_processes_with_its_problems():
    again = pickle.loads(pickle.dumps(UserError(iter(PROBLEMS))))
    assert type(again) is UserError
    assert again.problems == tuple(PROBLEMS)
    assert str(again) == str(UserError(PROBLEMS))


def test_a_single_problem_takes_any_place(tmp_path):
    assert bad_input(tmp_path, "is full", "free space").problems == (
        Problem(str(tmp_path), "is full", "free space"),
    )


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ("alhpa", "did you mean 'alpha'?"),
        ("learning_rat", "did you mean 'learning_rate'?"),
        ("zzz", "known: alpha, learning_rate"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_or_with_all(given, remedy):
    assert did_you_mean(given, ["learning_rate", "alpha"]) == remedy


def test_exit_codes_are_those_that_scripts_rely_on():
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "FAILED": 1,
        "BAD_INPUT": 2,
        "INTERRUPTED": 130,
    }


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk full"),
        (OSError(errno.EDQUOT, "Quota exceeded"), "disk full"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (OSError("something else"), "something else"),
    ],
)
def test_a_storage_error_says_why_and_crosses_processes_as_what_it_is(error, what):
    again = pickle.loads(pickle.dumps(StorageError.of("run", error)))
    assert type(again) is StorageError
    remedy = "free some space, then go on with --resume"
    assert again.problems == (Problem("run", f"cannot be written: {what}", remedy),)
