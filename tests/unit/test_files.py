"""A file is there whole, as it was or as it is to be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from neft_ray.errors import StorageError
from neft_ray.files import write_whole


def test_text_and_bytes_are_written_into_a_new_folder(tmp_path):
    write_whole(tmp_path / "a" / "b.txt", "ünï \ud800")
    write_whole(tmp_path / "a" / "c.png", b"\x89\xff")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "ünï ?".encode()
    assert (tmp_path / "a" / "c.png").read_bytes() == b"\x89\xff"
    assert len(list((tmp_path / "a").iterdir())) == 2


def test_until_the_new_one_is_whole_the_old_one_stays(tmp_path, monkeypatch):
    file = tmp_path / "a.txt"
    write_whole(file, "old")

    def die(number):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(KeyboardInterrupt):
        write_whole(file, "new")
    assert file.read_text() == "old"


def test_another_process_may_write_the_same_file_meanwhile(tmp_path, monkeypatch):
    file, write = tmp_path / "a.txt", Path.write_bytes
    theirs = f"write_whole(Path({str(file)!r}), 'theirs')"
    code = f"from pathlib import Path; from neft_ray.files import write_whole; {theirs}"

    def slowly(path, data):
        write(path, data)
        subprocess.run([sys.executable, "-c", code], check=True)
        assert file.read_text() == "theirs"

    monkeypatch.setattr(Path, "write_bytes", slowly)
    write_whole(file, "ours")
    assert file.read_text() == "ours"
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/below: cannot be written"):
        write_whole(tmp_path / "file" / "below", "x")
