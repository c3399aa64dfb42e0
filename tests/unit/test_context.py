"""Rows that are longer than what a model attends to are refused before anything starts."""

import json
import shutil
from importlib import resources
from pathlib import Path

import pytest

from neft_ray.config.load import load_sweep
from neft_ray.errors import UserError
from neft_ray.pipeline.session import open_data

PACKAGE = Path(str(resources.files("neft_ray")))
QUICKSTART = PACKAGE / "sweeps" / "quickstart.yaml"


@pytest.fixture
def with_context(tmp_path):
    """A sweep of the built-in model with another context, in tokens."""

    def sweep(num_tokens, *options):
        folder = tmp_path / "model"
        shutil.copytree(PACKAGE / "builtin" / "base", folder)
        described = json.loads((folder / "config.json").read_text())
        described["max_position_embeddings"] = num_tokens
        (folder / "config.json").write_text(json.dumps(described))
        where = [f"model.path={folder}", f"storage={tmp_path / 'runs'}"]
        return load_sweep(QUICKSTART, [*where, *options])

    return sweep


def test_a_row_longer_than_the_context_is_refused_with_the_setting_to_write(with_context):
    with pytest.raises(UserError) as caught:
        open_data(with_context(16))
    text = str(caught.value)
    assert "it attends to 16 tokens, and the longest row has " in text
    assert "write data.max_length_tokens: 16, or use a model of a longer context" in text


def test_what_is_cut_to_the_context_is_taken(with_context):
    data = open_data(config := with_context(16, "data.max_length_tokens=16"))
    assert data.data(config.trial).summary["longest_tokens"] == 16
