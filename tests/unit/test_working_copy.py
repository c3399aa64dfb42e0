"""Working copies of buckets, on a real S3 server: what one machine pushes, another one has."""

import json
import threading

import pytest

from neft_ray import pieces
from neft_ray.bucket import Bucket
from neft_ray.errors import StorageError
from neft_ray.journal import Journal, read_events
from neft_ray.working_copy import Pushing, bucket_of, here, matching, place_of, pull


def test_a_folder_is_its_own_place(tmp_path):
    assert here(str(tmp_path)) == tmp_path
    assert place_of(tmp_path) == str(tmp_path)
    assert bucket_of(tmp_path) is None
    pull(tmp_path / "nothing")
    with Pushing(tmp_path) as pushing:
        pushing.push()
    assert not (tmp_path / "nothing").exists()


def test_a_place_may_be_below_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert here("~/runs") == tmp_path / "runs"
    assert here("a/~/runs").parts == ("a", "~", "runs")


def test_a_place_is_found_again_on_every_machine(machine, place):
    first = here(place) / "run" / "trials"
    machine("second")
    second = here(place_of(first))
    assert first != second
    assert place_of(second) == place_of(first) == f"{place}/run/trials"


def test_what_is_pushed_is_pulled_elsewhere(machine, place):
    first = here(place) / "run"
    (first / "deep").mkdir(parents=True)
    (first / "deep/a.txt").write_text("a")
    (first / "b.txt").write_text("b")
    (first / "c.lock").write_text("stays")
    Pushing(first, lambda name: not name.endswith(".lock")).push()
    machine("second")
    second = here(place_of(first))
    pull(second)
    assert (second / "deep/a.txt").read_text() == "a"
    assert {path.name for path in second.iterdir()} == {"deep", "b.txt"}


def test_only_chosen_files_are_pulled(machine, place):
    first = here(place) / "run"
    first.mkdir(parents=True)
    for name in ("log-0.txt", "metrics.jsonl", "other"):
        (first / name).write_text(name)
    Pushing(first).push()
    machine("second")
    second = here(place_of(first))
    pull(second, matching("log-*.txt", "metrics.jsonl"))
    assert {path.name for path in second.iterdir()} == {"log-0.txt", "metrics.jsonl"}


def test_a_file_that_grew_is_pulled_again_and_one_that_is_longer_here_is_left(machine, place):
    first = here(place) / "run"
    first.mkdir(parents=True)
    (first / "log").write_text("one\n")
    pushing = Pushing(first)
    pushing.push()
    machine("second")
    second = here(place_of(first))
    pull(second)
    (first / "log").write_text("one\ntwo\n")
    pushing.push()
    pull(second)
    assert (second / "log").read_text() == "one\ntwo\n"
    (second / "log").write_text("one\ntwo\nthree\n")
    pull(second)
    assert (second / "log").read_text() == "one\ntwo\nthree\n"


def test_a_push_sends_what_changed_and_removes_what_is_gone(machine, place, monkeypatch):
    folder = here(place) / "run"
    folder.mkdir(parents=True)
    (folder / "same").write_text("same")
    (folder / "state").write_text("old")
    (folder / "gone").write_text("gone")
    pushing = Pushing(folder)
    pushing.push()
    sent = []
    upload = Bucket.upload
    monkeypatch.setattr(
        Bucket, "upload", lambda self, path, name: sent.append(name) or upload(self, path, name)
    )
    (folder / "state").write_text("new")
    (folder / "gone").unlink()
    pushing.push()
    assert sent == ["state"]
    bucket = bucket_of(folder)
    assert bucket.sizes() == {"same": 4, "state": 3}
    assert bucket.get("state") == b"new"


def test_the_end_of_a_block_pushes_the_rest(machine, place):
    folder = here(place) / "run"
    folder.mkdir(parents=True)
    with Pushing(folder):
        (folder / "late").write_text("late")
    assert bucket_of(folder).get("late") == b"late"


def test_the_background_pushes_without_being_told(machine, place, monkeypatch):
    monkeypatch.setattr("neft_ray.working_copy.PUSH_SECONDS", 0.01)
    folder = here(place) / "run"
    folder.mkdir(parents=True)
    arrived = threading.Event()
    upload = Bucket.upload

    def noting(self, path, name):
        upload(self, path, name)
        arrived.set()

    monkeypatch.setattr(Bucket, "upload", noting)
    with Pushing(folder):
        (folder / "points").write_text("1")
        assert arrived.wait(30)
    assert bucket_of(folder).get("points") == b"1"


def test_a_bucket_that_is_not_there_is_told_with_its_address(bucket_uri, machine):
    folder = here("s3://no-such-bucket/x") / "run"
    folder.mkdir(parents=True)
    (folder / "a").write_text("a")
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/x/run/a: the store says"):
        Pushing(folder).push()


def test_an_object_that_is_missing_is_told(bucket_uri, tmp_path):
    with pytest.raises(StorageError, match="nothing/here: the store says"):
        Bucket(f"{bucket_uri}/nothing").download("here", tmp_path / "file")
    assert not (tmp_path / "file").exists()
    assert Bucket(f"{bucket_uri}/nothing").get("here") is None
    assert Bucket(f"{bucket_uri}/nothing").sizes() == {}


def test_a_large_file_goes_up_in_parts_and_comes_back_whole(bucket_uri, tmp_path):
    content = bytes(range(256)) * 50_000  # 12.8 MB
    (tmp_path / "large").write_bytes(content)
    bucket = Bucket(f"{bucket_uri}/large")
    bucket.upload(tmp_path / "large", "large")
    bucket.copy("large", bucket.below("copies"), "again")
    bucket.download("copies/again", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    bucket.delete("copies")
    assert bucket.sizes() == {"large": len(content)}


@pytest.fixture
def opened(machine, place, monkeypatch):
    """A journal that is sent in small pieces, and its path, on the first machine."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", 100)
    path = here(place) / "journal.jsonl"
    path.parent.mkdir(parents=True)
    return path, Journal(path)


def test_a_driver_that_was_overtaken_writes_nothing_more(machine, opened):
    first, journal = opened
    journal.append("tick", number=0)
    machine("second")
    second = here(place_of(first))
    pieces.fetch(second)
    Journal(second).append("tick", number=1)
    before = bucket_of(second).sizes()
    with pytest.raises(StorageError, match="another process has written to it meanwhile"):
        journal.append("tick", number=2)
    assert bucket_of(second).sizes() == before


def test_a_journal_is_in_the_bucket_before_it_takes_effect(machine, opened):
    first, journal = opened
    for number in range(20):
        journal.append("tick", number=number)
        machine("second")
        second = here(place_of(first))
        pieces.fetch(second)
        assert second.read_bytes() == first.read_bytes()
        machine("first")
    assert len(bucket_of(first).sizes()) > 5
    assert [event["number"] for event in read_events(second)] == list(range(20))


def test_a_journal_goes_on_on_another_machine(machine, opened):
    first, journal = opened
    for number in range(5):
        journal.append("tick", number=number)
    with first.open("ab") as file:
        file.write(b'{"event": "cut o')
    machine("second")
    second = here(place_of(first))
    pieces.fetch(second)
    Journal(second).append("tick", number=5)
    machine("third")
    third = here(place_of(first))
    pieces.fetch(third)
    assert [event["number"] for event in read_events(third)] == list(range(6))


def test_what_a_dead_driver_wrote_and_did_not_send_is_sent_by_the_next(machine, place):
    path = here(place) / "journal.jsonl"
    path.parent.mkdir(parents=True)
    Journal(path).append("tick", number=0)
    with path.open("a") as file:
        file.write(json.dumps({"event": "tick", "number": 1}) + "\n")
    Journal(path)
    machine("second")
    second = here(place_of(path))
    pieces.fetch(second)
    assert [event["number"] for event in read_events(second)] == [0, 1]
