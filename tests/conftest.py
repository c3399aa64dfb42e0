"""Shared by all tests: one thread, no model hub, the built-in model and its tokenizer."""

import json
import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def environment():
    """What a test leaves in the environment ends with it.

    A command that asks a cluster tells Ray to show its token (`RAY_AUTH_MODE`). Ray reads that
    once, as it is loaded; a Ray started later in the same process would want one nobody shows.
    """
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def tokenizer():
    """The built-in model's tokenizer. Change a copy, never this one."""
    from neft_ray.config.trial import ModelConfig
    from neft_ray.model import load_tokenizer

    return load_tokenizer(ModelConfig(path="builtin:base"))


@pytest.fixture(scope="session")
def real_data():
    """The folder with real models and data, which is no part of the project."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("../shared/data is not here: it is no part of the project")
    return folder


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory):
    """What two processes that trained together wrote down, by rank."""
    import torch

    from tests.unit.trial_runs import as_rank

    folder = tmp_path_factory.mktemp("two_ranks")
    torch.multiprocessing.spawn(as_rank, (str(folder),), nprocs=2, daemon=True)
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def bucket_uri():
    """The URI of a bucket on a real S3 server."""
    from tests.unit.bucket_server import s3_server

    with s3_server() as uri:
        yield uri


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return `machine(name)`, which goes on as another machine."""

    def become(name):
        monkeypatch.setenv("NEFT_RAY_SCRATCH", str(tmp_path / name))

    become("first")
    return become


@pytest.fixture
def place(bucket_uri, request):
    """A folder of the bucket for one test alone."""
    return f"{bucket_uri}/{request.node.name}".replace("[", "-").replace("]", "")
