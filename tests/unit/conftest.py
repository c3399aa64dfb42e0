"""Shared by the tests of parts: a judge behind HTTP, rows that become tokens, a run's folder."""

import pytest


@pytest.fixture
def server(monkeypatch):
    """A judge's server; its key is in the environment."""
    from tests.unit.judge_server import KEY, judge_server

    monkeypatch.setenv("OUR_KEY", KEY)
    with judge_server() as running:
        yield running


@pytest.fixture
def judge(server):
    """The judge behind the server."""
    from tests.unit.judges import endpoint

    return endpoint(server)


@pytest.fixture
def tokenized(tmp_path, tokenizer):
    """Tokenizes rows, by default all for training but for 40 held out ones."""
    from neft_ray.config.data import DataConfig
    from neft_ray.data.prepare import tokenize
    from tests.unit.data_rows import some_rows, write

    def build(rows, held_out=None, tokenizer=tokenizer, **settings):
        kept_out = held_out or some_rows(40, "Held out")
        config = DataConfig(
            train=write(tmp_path / "train.jsonl", rows),
            held_out=write(tmp_path / "held_out.jsonl", kept_out),
            **{"template": "question", **settings},
        )
        return tokenize(config, tokenizer)

    return build


@pytest.fixture
def found(tmp_path, tokenizer):
    """Returns the examples of some rows."""
    from neft_ray.config.data import DataConfig
    from neft_ray.data.examples import examples
    from tests.unit.data_rows import write

    def build(rows, tokenizer=tokenizer, **keys):
        source = write(tmp_path / "rows.jsonl", rows)
        return list(examples(DataConfig(train=source, **keys), tokenizer))

    return build


@pytest.fixture
def root(tmp_path):
    """The folder of a run that a test writes."""
    return tmp_path / "run"
