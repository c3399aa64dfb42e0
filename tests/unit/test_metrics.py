"""Evaluation is noise-off, weighted by tokens, and the same however it is cut or shared out."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from neft_ray.data.split import Split
from neft_ray.noise import EmbeddingNoise
from neft_ray.train.loop import train
from neft_ray.train.metrics import RowLosses, evaluate, row_losses, train_sample
from tests.unit.trial_runs import (
    FEWER_ROWS_THAN_RANKS,
    build_engine,
    model_with_dropout,
    random_data,
    run_steps,
    small_config,
    weights,
)

DATA = random_data()
CONFIG = small_config()


@torch.no_grad()
def nats_per_target(model, rows) -> float:
    """The textbook's way: one row after another, all logits, tokens weighted alike."""
    total = count = 0
    for row in rows:
        span = slice(DATA.offsets[row], DATA.offsets[row + 1])
        tokens = torch.from_numpy(DATA.tokens[span].astype(np.int64))
        mask = torch.from_numpy(DATA.supervised[span])[1:]
        logits = model(input_ids=tokens[None]).logits[0, :-1]
        losses = functional.cross_entropy(logits, tokens[1:], reduction="none")
        total, count = total + losses[mask].sum().item(), count + int(mask.sum())
    return total / count


def test_losses_are_nats_per_target_of_select_report_and_training_sample():
    engine = build_engine(CONFIG)
    metrics, _ = evaluate(engine, DATA, CONFIG, with_report=True)
    model = engine.plain.model
    expected = {
        "select_loss": nats_per_target(model, DATA.rows(Split.SELECT)),
        "report_loss": nats_per_target(model, DATA.rows(Split.REPORT)),
        "train_eval_loss": nats_per_target(model, train_sample(DATA, CONFIG)),
    }
    expected["select_perplexity"] = math.exp(expected["select_loss"])
    assert metrics == pytest.approx(expected, rel=1e-5)


def test_report_rows_come_with_their_losses_only_when_asked_for():
    engine = build_engine(CONFIG)
    metrics, rows = evaluate(engine, DATA, CONFIG, with_report=False)
    assert rows is None
    assert "report_loss" not in metrics
    metrics, rows = evaluate(engine, DATA, CONFIG, with_report=True)
    assert rows.sample_ids.tolist() == DATA.rows(Split.REPORT).tolist()
    assert rows.counts.tolist() == [DATA.num_targets([row]) for row in rows.sample_ids]
    each = [nats_per_target(engine.plain.model, [row]) for row in rows.sample_ids]
    assert rows.losses / rows.counts == pytest.approx(each, rel=1e-5)
    assert rows.mean == metrics["report_loss"]


def test_long_responses_weigh_more():
    rows = RowLosses(np.array([0, 1]), np.array([2.0, 30.0]), np.array([1, 30]))
    assert rows.mean == 32 / 31


@pytest.mark.parametrize(
    "cut",
    [
        {"batch.micro_tokens": 1},
        {"batch.micro_tokens": 9999},
        {"batch.kind": "padded"},
        {"batch.kind": "packed"},
    ],
)
def test_results_do_not_depend_on_micro_batches(cut):
    config = small_config(cut)
    whole, rows = evaluate(build_engine(CONFIG), DATA, CONFIG, with_report=True)
    other, other_rows = evaluate(build_engine(config), DATA, config, with_report=True)
    assert other == pytest.approx(whole, rel=1e-6)
    assert other_rows.losses == pytest.approx(rows.losses, rel=1e-5)


def test_noise_and_dropout_are_off_and_nothing_changes():
    engine = build_engine(CONFIG, model_with_dropout())
    clean, _ = evaluate(engine, DATA, CONFIG, with_report=False)
    before, state = weights(engine), torch.get_rng_state()
    engine.module.train()
    with EmbeddingNoise(1000.0, seed=0).attached(engine.plain.embedding):
        assert evaluate(engine, DATA, CONFIG, with_report=False)[0] == clean
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, before[name]) for name, p in weights(engine).items())
    assert all(p.grad is None for p in engine.plain.parameters())


@pytest.mark.parametrize("model", [None, model_with_dropout])
def test_evaluating_between_steps_leaves_the_curve_as_it_is(model):
    engine = build_engine(CONFIG, model and model())
    undisturbed = run_steps(build_engine(CONFIG, model and model()), DATA, CONFIG)
    noise = EmbeddingNoise(CONFIG.noise.alpha, CONFIG.training.seed)
    disturbed = []
    with noise.attached(engine.plain.embedding):
        for metrics in train(engine, DATA, noise, CONFIG):
            disturbed.append(metrics)
            evaluate(engine, DATA, CONFIG, with_report=True)
    assert disturbed == undisturbed


@pytest.mark.parametrize("num", [1, 5, 18, 1000])
def test_training_sample_is_fixed_spread_out_and_of_training_rows(num):
    sample = train_sample(DATA, small_config({"training.train_loss_rows": num}))
    other_trial = {"training.train_loss_rows": num, "training.seed": 9, "noise.alpha": 0.0}
    assert sample == train_sample(DATA, small_config(other_trial))
    assert len(sample) == len(set(sample)) == min(num, 18)
    assert set(sample) <= set(DATA.rows(Split.TRAIN).tolist())
    assert num == 1 or (sample[0], sample[-1]) == (0, 17)


def test_no_training_sample_no_training_loss():
    config = small_config({"training.train_loss_rows": 0})
    metrics, _ = evaluate(build_engine(config), DATA, config, with_report=False)
    assert "train_eval_loss" not in metrics


def test_a_hopeless_model_has_an_infinite_perplexity_and_a_broken_one_none():
    engine = build_engine(CONFIG)
    with torch.no_grad():
        engine.plain.embedding.weight.mul_(1e4)
    metrics, _ = evaluate(engine, DATA, CONFIG, with_report=False)
    assert metrics["select_loss"] > 700
    assert metrics["select_perplexity"] == math.inf
    with torch.no_grad():
        engine.plain.embedding.weight.fill_(math.nan)
    metrics, _ = evaluate(engine, DATA, CONFIG, with_report=False)
    assert math.isnan(metrics["select_loss"])
    assert math.isnan(metrics["select_perplexity"])


def test_a_filler_adds_nothing_to_the_row_it_is_named_after():
    config = small_config({"batch.micro_tokens": 31})
    whole, rows = build_engine(config), DATA.rows(Split.TRAIN).tolist()[:5]
    for turn in range(len(rows)):
        turned = rows[turn:] + rows[:turn]
        ranks = [
            SimpleNamespace(
                rank=rank,
                world=2,
                module=whole.module,
                device=whole.device,
                sum_over_ranks=lambda values: values,
            )
            for rank in range(2)
        ]
        shares = [row_losses(rank, DATA, turned, config).losses for rank in ranks]
        expected = row_losses(whole, DATA, turned, config).losses
        assert sum(shares) == pytest.approx(expected, rel=1e-5)


def test_two_workers_evaluate_as_one(two_ranks):
    config = small_config(FEWER_ROWS_THAN_RANKS)
    engine = build_engine(config)
    run_steps(engine, DATA, config, until=6)
    metrics, rows = evaluate(engine, DATA, config, with_report=True)
    assert two_ranks[0]["evaluation"] == two_ranks[1]["evaluation"]
    assert two_ranks[0]["evaluation"] == pytest.approx(metrics, rel=1e-5)
    for found in two_ranks:
        assert found["report_losses"] == pytest.approx(rows.losses.tolist(), rel=1e-5)


def test_two_workers_evaluate_a_single_row(two_ranks):
    config = small_config(FEWER_ROWS_THAN_RANKS)
    engine = build_engine(config)
    run_steps(engine, DATA, config, until=6)
    expected = row_losses(engine, DATA, [0], config).losses.tolist()
    assert [found["one_row"] for found in two_ranks] == [pytest.approx(expected, rel=1e-5)] * 2
