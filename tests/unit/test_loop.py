"""A trial's curve is a function of config and seed, however its steps are cut up or shared out."""

import itertools
import math

import pytest
import torch

from neft_ray.data.batches import batches_of_rank
from neft_ray.data.split import Split
from neft_ray.noise import EmbeddingNoise, NoiseError, Segments
from neft_ray.train.alpha import alpha_factor
from neft_ray.train.loop import num_steps, step_order, train
from tests.unit.trial_runs import (
    EVEN,
    FEWER_ROWS_THAN_RANKS,
    UNEVEN,
    build_engine,
    model_with_dropout,
    random_data,
    run_steps,
    small_config,
    weights,
)

DATA = random_data()


def curve(values=None, model=None, **until):
    config = small_config(values)
    engine = build_engine(config, model)
    return run_steps(engine, DATA, config, **until), weights(engine)


def assert_close(ours, theirs, keys=("train_loss", "grad_norm")):
    assert [m["step"] for m in ours] == [m["step"] for m in theirs]
    for key in keys:
        assert [m[key] for m in ours] == pytest.approx([m[key] for m in theirs], rel=1e-5), key


def assert_equal(ours, theirs):
    assert ours[0] == theirs[0]
    assert all(torch.equal(p, theirs[1][name]) for name, p in ours[1].items())


def test_every_step_yields_its_metrics():
    config = small_config({"noise.alpha": 7.0})
    metrics, _ = curve({"noise.alpha": 7.0})
    assert [m["step"] for m in metrics] == [1, 2, 3, 4, 5, 6]
    assert [m["epoch"] for m in metrics] == pytest.approx([i / 3 for i in range(1, 7)])
    order = step_order(DATA, config)
    for m in metrics:
        assert m["tokens"] == sum(DATA.length(row) for row in order.rows(int(m["step"])))
        assert m["noise_alpha"] == 7.0
        assert m["noise_relative_norm"] == pytest.approx(1, abs=0.05)
        assert m["grad_norm"] > 0
    assert num_steps(DATA, config) == 6
    trained = list(itertools.accumulate(m["tokens"] for m in metrics))
    assert [m["tokens_trained"] for m in metrics] == trained


@pytest.mark.parametrize("done", [1, 3, 4])
def test_tokens_trained_goes_on_where_a_trial_does(done):
    config = small_config({"noise.alpha": 7.0})
    engine, noise = build_engine(config), EmbeddingNoise.of(config.noise, config.training.seed)
    with noise.attached(engine.plain.embedding):
        (first, *_) = train(engine, DATA, noise, config, done)
    whole, _ = curve({"noise.alpha": 7.0})
    assert first["tokens_trained"] == whole[done]["tokens_trained"]


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_alpha_follows_its_schedule_and_is_what_is_measured(schedule):
    values = {"noise.schedule": schedule, "noise.warmup_fraction": 0.4}
    metrics, _ = curve(values)
    config = small_config(values)
    expected = [5.0 * alpha_factor(config.noise, step, 6) for step in range(1, 7)]
    assert [m["noise_alpha"] for m in metrics] == pytest.approx(expected)
    assert [m["noise_alpha_measured"] for m in metrics] == pytest.approx(expected, rel=1e-4)
    assert expected[0] < expected[2] and (schedule == "constant") == (expected[2] == expected[-1])


def test_alpha_may_be_changed_while_the_trial_runs():
    config = small_config({"noise.schedule": "linear"})
    engine = build_engine(config)
    noise = EmbeddingNoise.of(config.noise, config.training.seed)
    with noise.attached(engine.plain.embedding):
        steps = train(engine, DATA, noise, config)
        before = next(steps)["noise_alpha_measured"]
        noise.alpha = 15.0
        after = next(steps)["noise_alpha_measured"]
    assert (before, after) == pytest.approx((5 * 6 / 7, 15 * 5 / 7), rel=1e-4)


def test_symmetric_noise_runs_everything_twice_and_averages_both_losses():
    values = {"noise.alpha": 30.0}
    symmetric, _ = curve({**values, "noise.symmetric": True}, until=1)
    config = small_config(values)
    losses = []
    for copy in (0, 1):
        engine = build_engine(config)
        engine.module.train()
        noise = EmbeddingNoise(30.0, config.training.seed, symmetric=True)
        rows = step_order(DATA, config).rows(1)
        total = 0.0
        with noise.attached(engine.plain.embedding):
            for batch in batches_of_rank(DATA, rows, config.batch, 0, 1):
                with noise.on(Segments.padded(1, batch.sample_ids, batch.lengths, copy)):
                    total += engine.module(batch.tokens_BT, batch.targets_BT).sum().item()
        losses.append(total / DATA.num_targets(rows))
    assert abs(losses[0] - losses[1]) > 1e-3
    assert symmetric[0]["train_loss"] == pytest.approx(sum(losses) / 2, rel=1e-5)
    plain, _ = curve(values, until=1)
    assert plain[0]["train_loss"] == pytest.approx(losses[0], rel=1e-5)
    assert plain[0]["forward_tokens"] == plain[0]["tokens"] == symmetric[0]["tokens"]
    assert symmetric[0]["forward_tokens"] == 2 * symmetric[0]["tokens"]


def test_without_noise_symmetric_copies_are_not_run():
    metrics, _ = curve({"noise.alpha": 0.0, "noise.symmetric": True}, until=1)
    assert metrics[0]["forward_tokens"] == metrics[0]["tokens"]


def test_without_noise_no_noise_is_reported():
    metrics, _ = curve({"noise.alpha": 0.0}, until=2)
    assert not [name for m in metrics for name in m if name.startswith("noise")]


def test_training_reduces_the_loss_on_rows_it_sees_again():
    metrics, _ = curve({"training.epochs": 30, "optimizer.learning_rate": 3e-3})
    losses = [m["train_loss"] for m in metrics]
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])


def test_first_loss_is_that_of_the_steps_rows_divided_by_their_targets():
    config = small_config({"noise.alpha": 0.0})
    engine = build_engine(config)
    rows = step_order(DATA, config).rows(1)
    with torch.no_grad():
        sums = [
            engine.module(batch.tokens_BT, batch.targets_BT).sum().item()
            for batch in batches_of_rank(DATA, rows, config.batch, 0, 1)
        ]
    (first,) = run_steps(engine, DATA, config, until=1)
    assert first["train_loss"] == pytest.approx(sum(sums) / DATA.num_targets(rows), rel=1e-6)


def test_noise_changes_the_training_loss():
    losses = [curve({"noise.alpha": a}, until=1)[0][0]["train_loss"] for a in (0.0, 5.0, 50.0)]
    assert abs(losses[1] - losses[0]) > 1e-3
    assert abs(losses[2] - losses[0]) > 0.1


@pytest.mark.parametrize(
    "cut",
    [
        {"batch.micro_tokens": 1},
        {"batch.micro_tokens": 31},
        {"batch.micro_tokens": 10_000},
        {"batch.micro_tokens": 90, "batch.kind": "padded"},
        {"batch.micro_tokens": 10_000, "batch.kind": "padded"},
        {"batch.micro_tokens": 1, "batch.kind": "packed"},
        {"batch.micro_tokens": 90, "batch.kind": "packed"},
        {"batch.micro_tokens": 10_000, "batch.kind": "packed"},
    ],
)
@pytest.mark.parametrize("symmetric", [False, True], ids=["plain", "symmetric"])
def test_loss_and_gradient_do_not_depend_on_how_a_step_is_cut(cut, symmetric):
    values = {"noise.symmetric": symmetric}
    assert_close(curve({**cut, **values})[0], curve(values)[0])


@pytest.mark.parametrize("model", [None, model_with_dropout])
def test_the_same_config_gives_the_same_curve_bitwise_whatever_ran_before(model):
    first = curve(model=model and model())
    curve({"training.seed": 5}, until=2)
    torch.randn(10)
    assert_equal(curve(model=model and model()), first)


@pytest.mark.parametrize("key", ["noise.alpha", "training.seed", "optimizer.learning_rate"])
def test_another_setting_gives_another_curve(key):
    assert curve({key: 3})[0] != curve()[0]


def test_dropout_is_on_and_differs_from_step_to_step():
    still = {"optimizer.learning_rate": 1e-30, "noise.alpha": 0.0, "training.epochs": 3}
    config = small_config({**still, "batch.size_examples": 18})
    losses = [
        m["train_loss"] for m in run_steps(build_engine(config, model_with_dropout()), DATA, config)
    ]
    assert len(losses) == 3
    assert all(abs(a - b) > 1e-4 for a, b in itertools.combinations(losses, 2))


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 - 1])
def test_every_seed_that_a_config_admits_can_be_trained(seed):
    metrics, _ = curve({"training.seed": seed}, until=1)
    assert math.isfinite(metrics[0]["train_loss"])


def test_an_unhooked_model_is_an_error_and_trains_no_step():
    config = small_config()
    engine = build_engine(config)
    before = weights(engine)
    noise = EmbeddingNoise(5.0, seed=0)
    with pytest.raises(NoiseError):
        next(train(engine, DATA, noise, config))
    assert all(torch.equal(p, before[name]) for name, p in weights(engine).items())


@pytest.mark.parametrize(
    ("name", "values"),
    [("even", EVEN), ("uneven", UNEVEN), ("fewer_rows_than_ranks", FEWER_ROWS_THAN_RANKS)],
)
def test_two_workers_give_the_curve_of_one_with_noise_on(two_ranks, name, values):
    alone, _ = curve(values, until=6)
    first, second = (found[name] for found in two_ranks)
    assert_close(first, alone, keys=("train_loss", "grad_norm", "tokens", "learning_rate"))
    assert_close(second, first)


def test_rows_of_the_steps_are_training_rows_alone():
    order = step_order(DATA, small_config())
    seen = {row for step in range(1, 7) for row in order.rows(step)}
    assert seen == set(DATA.rows(Split.TRAIN).tolist())
