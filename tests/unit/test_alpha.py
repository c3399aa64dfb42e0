"""A trial whose measured α is not the configured one fails and says both numbers."""

import json

import numpy as np
import pytest

from neft_ray.config.trial import NoiseConfig
from neft_ray.journal import COMPLETED, FAILED
from neft_ray.noise import EmbeddingNoise
from neft_ray.train.alpha import alpha_factor, wrong_alpha
from tests.unit.trial_runs import small_config
from tests.unit.worker_runs import run_trial

MEASURED, ERROR = "noise_alpha_measured", "noise_alpha_error"


def test_factor_rises_over_the_warmup_then_follows_the_schedule():
    config = NoiseConfig(alpha=5, schedule="linear", warmup_fraction=0.2)
    factors = [alpha_factor(config, step, 9) for step in range(1, 10)]
    assert factors == pytest.approx([0.5, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    assert {alpha_factor(NoiseConfig(alpha=5), step, 9) for step in range(1, 10)} == {1}


@pytest.mark.parametrize(
    ("alpha", "metrics"),
    [
        (5, {MEASURED: 5.0, ERROR: 0.0}),
        (5, {MEASURED: 5.04, ERROR: 0.0}),
        (5, {MEASURED: 5.5, ERROR: 0.1}),
        (0, {}),
    ],
)
def test_a_measured_alpha_within_its_error_is_right(alpha, metrics):
    assert wrong_alpha(NoiseConfig(alpha=alpha), metrics, 1, 10) is None


@pytest.mark.parametrize(
    ("alpha", "metrics", "said"),
    [
        (15, {MEASURED: 5.0, ERROR: 0.0}, "has α = 5, but noise.alpha: 15 .* says 15"),
        (5, {MEASURED: 5.6, ERROR: 0.1}, "has α = 5.6, but noise.alpha: 5 .* says 5"),
        (5, {}, "has α = 0, but noise.alpha: 5"),
        (0, {MEASURED: 5.0, ERROR: 0.0}, "has α = 5, but noise.alpha: 0"),
        (5, {MEASURED: float("nan"), ERROR: 0.0}, "has α = nan"),
    ],
)
def test_another_alpha_is_wrong(alpha, metrics, said):
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(wrong_alpha(NoiseConfig(alpha=alpha), metrics, 1, 10))


def test_the_schedule_counts():
    config = NoiseConfig(alpha=10, schedule="linear")
    assert wrong_alpha(config, {MEASURED: 5.0}, 5, 9) is None
    assert "says 5;" in wrong_alpha(config, {MEASURED: 10.0}, 5, 9)


@pytest.mark.parametrize("given", [5.0, 15.0])
def test_a_trial_that_is_given_another_alpha_than_configured_does_not_finish(
    tmp_path, monkeypatch, given
):
    # As in transformers' search, where the hook keeps the α of before the search.
    stale = classmethod(lambda cls, config, seed: cls(given, seed))
    monkeypatch.setattr(EmbeddingNoise, "of", stale)
    config = small_config({"noise.alpha": 15.0, "training.epochs": 1})
    status, reason, _ = run_trial(tmp_path / "trial", config)
    lines = (tmp_path / "trial" / "metrics.jsonl").read_text().splitlines()
    first = json.loads(lines[0])["metrics"]
    assert first[MEASURED] == pytest.approx(given, rel=1e-4)
    if given == 15.0:
        assert (status, reason) == (COMPLETED, "")
        assert np.isfinite(first["noise_to_signal"]) and first["noise_changed_fraction"] > 0.99
    else:
        assert status == FAILED
        assert "at step 1 has α = 5, but noise.alpha: 15" in reason
        assert len(lines) == 1
        assert not list((tmp_path / "trial").glob("checkpoints/*"))
