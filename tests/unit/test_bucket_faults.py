"""A store that answers with errors, late, or not to the end loses nothing and halves nothing."""

import os

import pytest

from neft_ray import bucket as module
from neft_ray.bucket import Bucket
from neft_ray.errors import StorageError
from tests.unit.bucket_server import Faulty, s3_server

FAULTS = {
    "errors": Faulty(error_every=3),
    "cut answers": Faulty(cut_every=3),
    "all of them": Faulty(error_every=5, late_every=17, cut_every=7),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_everything_arrives_whole(kind, tmp_path):
    app = FAULTS[kind]
    with s3_server(app) as uri:
        bucket = Bucket(f"{uri}/faults")
        contents = {f"file-{n}": os.urandom(10 + n * 3000) for n in range(7)}
        contents["large"] = os.urandom(12_000_000)
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
            bucket.upload(tmp_path / name, name)
        assert bucket.sizes() == {name: len(content) for name, content in contents.items()}
        for name, content in contents.items():
            bucket.download(name, tmp_path / "back")
            assert (tmp_path / "back").read_bytes() == content
            bucket.delete(name)
        assert bucket.sizes() == {}
    assert app.num_faults > 10


def test_a_store_that_never_answers_well_is_told_and_leaves_no_half_file(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    with s3_server(Faulty(error_every=1)) as uri:
        bucket = Bucket(f"{uri}/x?region=us-east-1")
        (tmp_path / "a").write_text("a")
        with pytest.raises(StorageError, match=r"/x/a: the store says: .*(SLOW_DOWN|503)"):
            bucket.upload(tmp_path / "a", "a")
        with pytest.raises(StorageError):
            bucket.download("b", tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
