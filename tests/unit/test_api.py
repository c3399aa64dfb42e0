"""What Python gives a sweep is read as a sweep file is, and told apart from what is wrong."""

from pathlib import Path

import numpy as np
import pytest

from neft_ray import run_sweep
from neft_ray.errors import UserError


def test_values_of_numpy_paths_and_any_character_are_taken_as_what_they_are():
    config = {
        "name": "x",
        "model": {"path": Path("models/🦊")},
        "data": {"train": "builtin:tales", "template": "🦊 {{ instruction }} \u2028"},
        "sweep": {"space": {"noise.alpha": {"choice": np.array([5, 10])}}, "num_trials": 2},
        "odd": 1,
    }
    values = {"optimizer.learning_rate": np.float64(1e-4), "training.seed": np.int64(3)}
    with pytest.raises(UserError) as caught:
        run_sweep(config, set=values | {"data.held_out": "🦊.jsonl"})
    assert [problem.where for problem in caught.value.problems] == ["config:1: odd"]


def test_what_is_no_value_of_a_sweep_file_is_refused():
    with pytest.raises(UserError, match="is no value of a sweep file; give numbers and text"):
        run_sweep({"name": object()})
