"""An export is an ordinary Hugging Face folder that equals the checkpoint, whole or not at all."""

import math
import os

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from neft_ray.config.evaluation import REPETITION_PENALTY
from neft_ray.config.trial import ModelConfig
from neft_ray.errors import UserError
from neft_ray.export import export_trial
from neft_ray.generate import Chat
from neft_ray.journal import COMPLETED, CONTINUE, Report, TrialRecord
from neft_ray.model import resolve_path
from neft_ray.run_directory import create_run
from neft_ray.strategy import registry
from neft_ray.strategy.ddp import WEIGHTS_FILE
from neft_ray.strategy.models import BaseModels
from neft_ray.train import checkpoint
from tests.unit.trial_runs import build_engine, random_data, run_steps, small_config, weights

VALUES = {"noise.alpha": 7.5, "optimizer.learning_rate": 3e-3}
CONFIG = small_config(VALUES)
LOSSES = {2: 3.5, 4: 3.25, 6: 3.75}
REMARK = "Lift over α = 0: no evidence."
TOKENS = torch.arange(1, 41).view(2, 20)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with one trial that has three checkpoints, and the logits at each."""
    run = create_run(tmp_path_factory.mktemp("storage"), "tales")
    record = TrialRecord(3, "treatment", "search", VALUES, 0, 0.0, 6, status=COMPLETED)
    engine, logits, done = build_engine(CONFIG), {}, 0
    for step, loss in LOSSES.items():
        run_steps(engine, random_data(), CONFIG, done, step)
        done, metrics = step, {"select_loss": loss}
        state = checkpoint.State(step, CONFIG.config_hash, metrics)
        checkpoint.save(engine, run.checkpoints(3), state)
        record.reports.append(Report(step, metrics, CONTINUE, 0.0))
        logits[step] = logits_of(engine.plain.model.eval())
    return run, record, logits


@torch.no_grad()
def logits_of(model) -> torch.Tensor:
    return model(input_ids=TOKENS).logits


def export(trained, target, config=CONFIG, record=None) -> int:
    return export_trial(trained[0], record or trained[1], config, target, REMARK)


def test_exported_folder_is_the_best_checkpoint_bitwise(trained, tmp_path, tokenizer):
    assert export(trained, tmp_path / "model") == 4
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert torch.equal(logits_of(model), trained[2][4])
    assert not torch.equal(logits_of(model), trained[2][6])
    assert model.config.use_cache
    loaded = AutoTokenizer.from_pretrained(tmp_path / "model")
    text = "Who left a lamp there? naïve 🦊"
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.eos_token == tokenizer.eos_token
    assert not list((tmp_path / "model").glob("*.bin"))
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o755


def test_card_says_noise_loss_step_and_data(trained, tmp_path):
    export(trained, tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    for said in (
        "α (NEFTune): **7.5**",
        "learning rate: 0.003",
        "data: `builtin:tales`",
        "step 4 of 6, held-out loss 3.2500 nats",
        "* noise.alpha: 7.5\n* optimizer.learning_rate: 0.003",
        "base_model: builtin:base",
        "t003",
        REMARK,
    ):
        assert said in card


def trained_for_a_step(tmp_path, values):
    """Export a model after one step and return its engine."""
    config = small_config(values)
    run = create_run(tmp_path, "tales")
    record = TrialRecord(0, "treatment", "search", {}, 0, 0.0, 1)
    record.reports.append(Report(1, {"select_loss": 3.0}, CONTINUE, 0.0))
    engine = build_engine(config)
    run_steps(engine, random_data(), config, until=1)
    checkpoint.save(engine, run.checkpoints(0), checkpoint.State(1, config.config_hash, {}))
    export_trial(run, record, config, tmp_path / "model", "")
    return engine


def test_card_says_which_noise_it_was_where_it_is_not_the_usual_one(tmp_path):
    trained_for_a_step(tmp_path, {"noise.alpha": 5.0, "noise.distribution": "gaussian"})
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "* α (NEFTune): **5**; distribution: gaussian\n" in card


def test_bfloat16_models_are_written_in_bfloat16(tmp_path):
    engine = trained_for_a_step(tmp_path, {"model.dtype": "bfloat16"})
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, weights(engine)[name].bfloat16()), name


def test_a_loss_that_is_not_finite_is_not_the_best(trained, tmp_path):
    reports = [Report(2, {"select_loss": math.nan}, CONTINUE, 0.0), *trained[1].reports[1:]]
    record = TrialRecord(3, "treatment", "search", VALUES, 0, 0.0, 6, reports=reports)
    assert export(trained, tmp_path / "model", record=record) == 4


def test_the_best_of_the_checkpoints_that_are_left_is_taken(trained, tmp_path):
    record = TrialRecord(
        3, "treatment", "search", VALUES, 0, 0.0, 6, reports=list(trained[1].reports)
    )
    record.reports.append(Report(5, {"select_loss": 1.0}, CONTINUE, 0.0))
    assert export(trained, tmp_path / "model", record=record) == 4


def test_no_checkpoint_left_is_an_error_that_says_what_to_do(trained, tmp_path):
    record = TrialRecord(8, "treatment", "search", VALUES, 0, 0.0, 6, reports=trained[1].reports)
    with pytest.raises(UserError, match=r"no checkpoint of t008 is left: .*--rebuild"):
        export(trained, tmp_path / "model", record=record)
    assert os.listdir(tmp_path) == []


def test_a_damaged_checkpoint_is_an_error_and_leaves_nothing(tmp_path):
    run = create_run(tmp_path / "storage", "tales")
    record = TrialRecord(0, "treatment", "search", {}, 0, 0.0, 1)
    record.reports.append(Report(1, {"select_loss": 3.0}, CONTINUE, 0.0))
    state = checkpoint.State(1, CONFIG.config_hash, {})
    folder = checkpoint.save(build_engine(CONFIG), run.checkpoints(0), state)
    os.truncate(folder / WEIGHTS_FILE, 1000)
    with pytest.raises(UserError, match=WEIGHTS_FILE):
        export_trial(run, record, CONFIG, tmp_path / "model", "")
    assert os.listdir(tmp_path) == ["storage"]


def test_an_empty_folder_is_filled_and_a_taken_place_is_left_as_it_is(trained, tmp_path):
    (tmp_path / "empty").mkdir()
    export(trained, tmp_path / "empty")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "precious").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for taken in ("taken", "file"):
        with pytest.raises(UserError, match="is not an empty folder"):
            export(trained, tmp_path / taken)
    assert sorted(os.listdir(tmp_path)) == ["empty", "file", "taken"]
    assert os.listdir(tmp_path / "taken") == ["precious"]


def test_a_failure_halfway_leaves_nothing(trained, tmp_path, monkeypatch):
    def die(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(tmp_path), "write_text", die)
    with pytest.raises(KeyboardInterrupt):
        export(trained, tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_a_user_error(trained, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        export(trained, tmp_path / "file" / "below" / "model")


def test_an_exported_model_chats(trained, tmp_path):
    export(trained, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    prompt = tokenizer("Question: Who left?\nAnswer:", return_tensors="pt")["input_ids"]
    greedy = {"do_sample": False, "repetition_penalty": REPETITION_PENALTY}
    expected = model.generate(prompt, max_new_tokens=12, **greedy)[0, prompt.shape[1] :]
    pieces: list[str] = []
    model = ModelConfig(path=str(tmp_path / "model"))
    Chat(model, "question").answer("Who left?", 12, pieces.append)
    assert "".join(pieces) == tokenizer.decode(expected, skip_special_tokens=True)


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A run with one trial of adapters, and its logits with dropout off."""
    config = small_config({"model.lora.rank": 4, "optimizer.learning_rate": 0.03})
    run = create_run(tmp_path_factory.mktemp("storage"), "tales")
    record = TrialRecord(0, "treatment", "search", {}, 0, 0.0, 3)
    record.reports.append(Report(3, {"select_loss": 3.0}, CONTINUE, 0.0))
    engine = registry.build_engine(config, BaseModels(), torch.device("cpu"))
    run_steps(engine, random_data(), config, until=3)
    checkpoint.save(engine, run.checkpoints(0), checkpoint.State(3, config.config_hash, {}))
    return run, record, config, logits_of(engine.plain.model.eval())


def test_adapters_are_merged_into_an_ordinary_model(adapted, tmp_path):
    run, record, config, logits = adapted
    export_trial(run, record, config, tmp_path / "model", REMARK)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    base = AutoModelForCausalLM.from_pretrained(resolve_path("builtin:base"))
    torch.testing.assert_close(logits_of(model), logits, rtol=1e-4, atol=1e-4)
    assert (logits_of(model) - logits_of(base)).abs().max() > 0.1
    assert dict(model.named_parameters()).keys() == dict(base.named_parameters()).keys()
    assert "LoRA of rank 4, alpha 16; merged" in (tmp_path / "model" / "README.md").read_text()


def test_an_adapter_alone_gives_the_model_on_its_base(adapted, tmp_path):
    run, record, config, logits = adapted
    export_trial(run, record, config, tmp_path / "adapter", REMARK, adapter=True)
    base = AutoModelForCausalLM.from_pretrained(resolve_path("builtin:base"))
    model = PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert torch.equal(logits_of(model.eval()), logits)
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    card = (tmp_path / "adapter" / "README.md").read_text(encoding="utf-8")
    assert "library_name: peft" in card
    assert "this is the adapter" in card


def test_an_adapter_of_a_trial_without_one_is_an_error(trained, tmp_path):
    with pytest.raises(UserError, match="t003 has no adapter"):
        export_trial(trained[0], trained[1], CONFIG, tmp_path / "model", REMARK, adapter=True)
    assert os.listdir(tmp_path) == []
