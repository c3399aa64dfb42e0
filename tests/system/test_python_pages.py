"""The pages on Python: their blocks run, one after another, and what they promise holds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from neft_ray import NoiseCallback
from tests.test_architecture import HEAVY

DOCS = Path(__file__).parents[2] / "docs"


def run_page(name, scope):
    text = (DOCS / name).read_text()
    blocks = list(re.finditer(r"```python\n(.*?)```", text, re.DOTALL))
    assert blocks
    for block in blocks:
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block[1], name, "exec"), scope)
    return scope


def test_the_page_on_the_python_interface(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = run_page("python.md", {})
    result = scope["result"]
    assert result.finished
    assert result.run.best_model.is_dir() and (result.run.report / "index.html").is_file()
    rows = result.trials()
    searched = [row["noise.alpha"] for row in rows if row["phase"] == "search"]
    assert sorted(searched) == [0, 5, 15]
    losses = {row["trial"]: row["best_select_loss"] for row in rows}
    assert losses[result.best_trial] == min(losses.values()) == result.best_loss
    low, high = result.lift.interval
    assert low <= result.lift.difference <= high
    assert list(scope["table"]["best_select_loss"]) == list(losses.values())
    measured = scope["noise"]
    assert measured.effective_alpha == 5


def test_the_page_on_replacing_neftune_noise_alpha(tmp_path, monkeypatch, tokenizer):
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from neft_ray.config.trial import ModelConfig
    from neft_ray.model import load_model

    def model_init():
        return load_model(ModelConfig(path="builtin:base"))

    def collator(rows):
        ids = pad_sequence([row["input_ids"] for row in rows], batch_first=True)
        return {"input_ids": ids, "labels": ids, "attention_mask": (ids != 0).long()}

    monkeypatch.chdir(tmp_path)
    rows = [{"input_ids": torch.arange(5, 5 + length)} for length in (9, 30, 21, 12)]
    scope = run_page(
        "replacing-neftune-noise-alpha.md",
        {"model": model_init(), "model_init": model_init, "rows": rows, "collator": collator},
    )
    logged = scope["trainer"].state.log_history[0]
    assert logged["noise_alpha_measured"] == pytest.approx(5, rel=1e-3)
    (callback,) = (
        it for it in scope["searched"].callback_handler.callbacks if isinstance(it, NoiseCallback)
    )
    assert callback.noise.alpha == scope["searched"].args.neftune_noise_alpha


def test_importing_the_package_is_light_and_its_names_are_listed():
    code = "import sys, neft_ray; print(*sys.modules); print(*dir(neft_ray))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ
    )
    assert result.returncode == 0, result.stderr
    loaded, names = result.stdout.splitlines()
    assert not set(loaded.split()).intersection({*HEAVY, "pydantic", "typer"})
    assert {"NoiseCallback", "noisy_embeddings", "run_sweep", "SweepResult"} <= set(names.split())


def test_wrong_input_is_one_error_with_every_problem():
    import neft_ray
    from neft_ray.errors import UserError

    with pytest.raises(UserError) as found:
        neft_ray.run_sweep({"name": "x", "modle": {}}, set={"noise.alpha": -1})
    text = str(found.value)
    assert "modle" in text and "noise.alpha" in text
    with pytest.raises(AttributeError, match="no attribute 'swep'"):
        neft_ray.swep  # noqa: B018
