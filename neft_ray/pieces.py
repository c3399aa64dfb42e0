"""A growing file in a bucket, whose objects cannot grow: as pieces named by where they begin."""

from __future__ import annotations

from pathlib import Path

from neft_ray.errors import Problem, StorageError
from neft_ray.files import write_whole
from neft_ray.working_copy import bucket_of

PIECE_BYTES = 2**18
"""A piece that is shorter is sent again, longer, with what comes next."""


class PiecesOfFile:
    """Sends what is appended to a file of a working copy; does nothing elsewhere."""

    def __init__(self, path: Path) -> None:
        """Find out what of the file is in the bucket.

        Raises:
            StorageError: If the bucket does not answer.
        """
        self._path, self._bucket = path, bucket_of(path)
        self._known = {} if self._bucket is None else self._bucket.sizes()
        """The bytes of every piece, by name."""
        self._begin = int(max(self._known, default="0"))
        """Of the last piece."""

    def send(self) -> None:
        """Bring the bucket up to date with the file; it has all of it or what it had before.

        Raises:
            StorageError: If the bucket does not take it, or has what another process sent.
        """
        if self._bucket is None:
            return
        if self._bucket.sizes() != self._known:
            what = "another process has written to it meanwhile"
            remedy = "let one process alone go on with this run, with --resume"
            raise StorageError([Problem(self._bucket.uri, what, remedy)])
        with self._path.open("rb") as file:
            while True:
                file.seek(self._begin)
                piece, name = file.read(PIECE_BYTES), f"{self._begin:012d}"
                if len(piece) > self._known.get(name, 0):
                    self._bucket.put(name, piece)
                    self._known[name] = len(piece)
                if len(piece) < PIECE_BYTES:
                    return
                self._begin += PIECE_BYTES


def fetch(path: Path) -> None:
    """Make a file of the pieces that the bucket has of it, if they are more than is here.

    Raises:
        StorageError: If the bucket does not answer, or the disk is full.
    """
    bucket = bucket_of(path)
    if bucket is None:
        return
    sizes = bucket.sizes()
    if sum(sizes.values()) <= (path.stat().st_size if path.exists() else -1):
        return
    write_whole(path, b"".join(bucket.get(name) or b"" for name in sorted(sizes)))
