"""Whoever can write into a checkpoint can run nothing by it: files of checkpoints are data."""

import ast
import json
import logging
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from neft_ray.config.trial import ModelConfig
from neft_ray.errors import StorageError, UserError
from neft_ray.export import _tuned_model
from neft_ray.generate import Chat
from neft_ray.model import load_model, load_tokenizer
from neft_ray.report.finalists import read_rows
from neft_ray.strategy.models import BaseModels
from neft_ray.strategy.registry import build_engine
from neft_ray.train import checkpoint
from neft_ray.train.contents import STATE_FILE
from neft_ray.train.stored import folder_of
from tests.contract.poisoned_checkpoints import Payload, instead, poisoned, saved
from tests.contract.strategy_runs import (
    CPU,
    DATA,
    KINDS,
    checkpoints,
    configured,
    run_group,
    save,
)
from tests.test_architecture import TREES
from tests.unit.trial_runs import run_steps

CASE, STEP = "whole", 1


@pytest.fixture(scope="module", params=KINDS)
def attacked(request, tmp_path_factory):
    """Checkpoints of two workers with a payload in them, and where it makes markers."""
    folder, kind = tmp_path_factory.mktemp("untrusted"), request.param
    run_group(train_and_save, 2, folder, kind)
    markers = folder / "executed"
    sound = folder_of(checkpoints(folder, kind, CASE, 2), STEP)
    attacks = poisoned(sound, folder / "attacks", markers)
    return SimpleNamespace(folder=folder, kind=kind, sound=sound, attacks=attacks, markers=markers)


def train_and_save(folder, kind):
    config = configured(kind, CASE)
    engine = build_engine(config, BaseModels(), CPU)
    run_steps(engine, DATA, config, until=STEP)
    save(engine, folder, kind, CASE, STEP)
    engine.close()


def go_on(folder, kind):
    """Tries to go on from every checkpoint, the sound one last; what was loaded and said."""
    config, said = configured(kind, CASE), []
    engine = build_engine(config, BaseModels(), CPU)
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger(checkpoint.__name__).addHandler(handler)
    found = {}
    places = [*sorted(Path(folder, "attacks").iterdir()), checkpoints(folder, kind, CASE, 2)]
    for place in places:
        step, halted = None, False
        try:
            if (state := checkpoint.load_latest(engine, place, config.config_hash)) is not None:
                step = state.step
        except StorageError:
            halted = True
        found[place.name] = step, " ".join(said), halted
        said.clear()
    engine.close()
    return found


@pytest.mark.parametrize("world", [2, 1])
def test_a_trial_passes_over_it_and_says_which_file(attacked, world):
    """One worker has what two wrote converted first, where the strategy needs that."""
    ranks = run_group(go_on, world, attacked.folder, attacked.kind)
    assert os.listdir(attacked.markers) == []
    for found in ranks:
        step, said, _ = found.pop(checkpoints(attacked.folder, attacked.kind, CASE, 2).name)
        assert step == STEP, said
    for attack in attacked.attacks:
        assert [found[attack][0] for found in ranks] == [None] * world, attack
        halts = attack.split()[0] != STATE_FILE  # its tensors were begun to be read
        assert [found[attack][2] for found in ranks] == [halts] * world, attack
        told = [found[attack][1] for found in ranks]
        assert all("passed over" in said for said in told)
        told = [said for said in told if "another worker failed" not in said]
        assert told
        for said in told:
            assert_names_the_file(attack, said)


def test_an_export_refuses_it_or_does_not_read_it(attacked):
    config, refused = configured(attacked.kind, CASE), []
    for attack, folder in attacked.attacks.items():
        try:
            _tuned_model(folder / attacked.sound.name, config, adapter=False)
        except UserError as error:
            assert_names_the_file(attack, str(error))
            refused.append(attack)
    assert os.listdir(attacked.markers) == []
    assert {attack.split()[0] for attack in refused} >= {STATE_FILE}
    assert len(refused) >= 3
    _tuned_model(attacked.sound, config, adapter=False)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An exported model."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    config = ModelConfig(path="builtin:base")
    load_model(config).save_pretrained(folder)
    load_tokenizer(config).save_pretrained(folder)
    return folder


def test_a_chat_runs_nothing_of_what_lies_in_a_model(exported, tmp_path):
    markers, refused = tmp_path / "executed", 0
    markers.mkdir()
    names = sorted(file.name for file in exported.iterdir())
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(names)
    for name in (*names, "pytorch_model.bin", "modeling_own.py"):
        for way in (instead, saved):
            folder = shutil.copytree(exported, tmp_path / f"{name} {way.__name__}")
            way(folder / name, Payload(markers / name))
            if name == "pytorch_model.bin":
                (folder / "model.safetensors").unlink()
            if name == "modeling_own.py":
                (folder / name).write_text(f"import os; os.mkdir({str(markers / name)!r})")
                described = json.loads((folder / "config.json").read_text())
                kinds = ("AutoConfig", "AutoModelForCausalLM")
                described["auto_map"] = dict.fromkeys(kinds, "modeling_own.Own")
                (folder / "config.json").write_text(json.dumps(described))
            try:
                Chat(ModelConfig(path=str(folder)), "question").answer("Who?", 2, lambda text: None)
            except UserError:
                refused += 1
    assert os.listdir(markers) == []
    assert refused >= 8
    Chat(ModelConfig(path=str(exported)), "question").answer("Who?", 2, lambda text: None)


def test_a_report_runs_nothing_of_what_lies_among_its_rows(tmp_path):
    names = ("sample_ids", "losses", "counts")
    np.savez(tmp_path / "sound.npz", **dict.fromkeys(names, np.arange(3)))
    assert len(read_rows(tmp_path / "sound.npz").losses) == 3
    payload = np.array([Payload(tmp_path / "executed")], dtype=object)
    np.savez(tmp_path / "rows.npz", allow_pickle=True, **dict.fromkeys(names, payload))
    instead(tmp_path / "bare.npz", Payload(tmp_path / "executed"))
    for name in ("rows.npz", "bare.npz"):
        with pytest.raises(ValueError, match="allow_pickle"):
            read_rows(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_nothing_else_of_the_package_reads_pickles():
    found = set()
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import) and any("pickle" in entry.name for entry in node.names):
                found.add(name)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                call = ast.unparse(node)
                if call.startswith("torch.load("):
                    assert "weights_only=True" in call, name
                if call.startswith("np.load("):
                    assert "allow_pickle" not in call, name
    assert found == {"strategy/data_alone.py"}


def assert_names_the_file(attack, said):
    file = attack.split()[0]
    if file == STATE_FILE:
        assert "is no checkpoint" in said
    else:
        assert f"/{file}: " in said, said
        assert said.count("delete this checkpoint") == 1
        assert len(said.splitlines()) == 1
