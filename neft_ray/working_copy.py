"""Storage in a bucket: folders of this machine that are working copies of what lies there.

Everything reads and writes ordinary files. Where runs are stored in a bucket, the storage folder
is a working copy, on each machine one of its own; a marker in it names the bucket. What is written
is pushed there before anything depends on it, and what another machine has pushed is pulled.
A folder without a marker above it is not a working copy, and then nothing here does anything.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shlex
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from stat import S_ISREG
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from neft_ray.bucket import Bucket
from neft_ray.config.cluster import BUCKETS
from neft_ray.errors import StorageError
from neft_ray.files import write_whole

logger = logging.getLogger(__name__)

MARKER = ".bucket"
SCRATCH_VARIABLE = "NEFT_RAY_SCRATCH"
"""Names the folder of working copies: on a disk that is fast and large."""
DEFAULT_SCRATCH = "~/.neft_ray"
PUSH_SECONDS = 10.0
Chosen = Callable[[str], bool]
"""Whether a file takes part, by its name relative to the folder."""


def is_bucket(place: str) -> bool:
    """Tell whether a storage place is in a bucket, not a folder."""
    return urlsplit(place).scheme in BUCKETS


def here(place: str | Path) -> Path:
    """Return the folder of this machine for a storage place: a folder, or a bucket's URI."""
    parts = urlsplit(str(place))
    if not is_bucket(str(place)):
        return Path(place).expanduser() if str(place).startswith("~/") else Path(place)
    root = Path(os.environ.get(SCRATCH_VARIABLE, DEFAULT_SCRATCH)).expanduser() / _root(place)
    marker = root / MARKER
    if not marker.exists():
        write_whole(marker, parts._replace(path="").geturl())
    return root / parts.path.strip("/")


def folder_in_shell(place: str) -> str:
    """Return the folder of any machine for a storage place, as a word for its shell."""
    parts = urlsplit(place)
    if not is_bucket(place):
        return shlex.quote(place.rstrip("/"))
    below = f"{_root(place)}/{parts.path.strip('/')}".rstrip("/")
    return f"${{{SCRATCH_VARIABLE}:-{DEFAULT_SCRATCH}}}/{shlex.quote(below)}"


def _root(place: str | Path) -> str:
    parts = urlsplit(str(place))
    return "storage/" + re.sub(r"[^\w.-]+", "_", f"{parts.scheme}_{parts.netloc}")


def place_of(path: Path) -> str:
    """Return what `here` makes this path of, on any machine: a URI if it is in a working copy."""
    bucket = bucket_of(path)
    return str(path) if bucket is None else bucket.uri


def bucket_of(path: Path) -> Bucket | None:
    """Return the folder of a bucket that a path is the working copy of; None if it is none."""
    path = path.absolute()
    for folder in (path, *path.parents):
        marker = folder / MARKER
        if marker.is_file():
            return Bucket(marker.read_text()).below(path.relative_to(folder).as_posix())
    return None


def fills_own_copy(path: Path) -> bool:
    """Tell whether this is a machine's first worker, where each machine has a copy of its own."""
    return bucket_of(path) is not None and os.environ.get("LOCAL_RANK", "0") == "0"


def pull(folder: Path, chosen: Chosen = lambda name: True) -> None:
    """Fetch what the bucket has of a folder and this machine has not, or not yet whole.

    Files only ever grow or stay as they are while more than one machine has them, so that one
    which is as large here as there is the same. Several processes may pull at once.

    Raises:
        StorageError: If the bucket does not answer.
    """
    bucket = bucket_of(folder)
    if bucket is None:
        return
    with _one_at_a_time(folder):
        for name, num_bytes in bucket.sizes().items():
            path = folder / name
            if chosen(name) and (not path.is_file() or path.stat().st_size < num_bytes):
                bucket.download(name, path)


def renew(folder: Path, chosen: Chosen = lambda name: True) -> None:
    """Fetch what the bucket has of a folder in another version than this machine.

    For files that another machine may have written anew; never where a process of this one writes.

    Raises:
        StorageError: If the bucket does not answer.
    """
    bucket = bucket_of(folder)
    if bucket is None:
        return
    with _one_at_a_time(folder):
        for name, version in bucket.versions().items():
            path = folder / name
            if not chosen(name):
                continue
            if not path.is_file() or (path.stat().st_size, path.stat().st_mtime) != version:
                bucket.download(name, path)
                os.utime(path, (version[1], version[1]))  # by which it is known next time


class Pushing:
    """Keeps a bucket up to date with a folder: every few seconds, when told, and at the end."""

    def __init__(self, folder: Path, chosen: Chosen = lambda name: True) -> None:
        """Begin with nothing pushed.

        Args:
            folder: A working copy, or a folder that is none.
            chosen: Which of its files are this process's to push.
        """
        self._folder, self._chosen, self._bucket = folder, chosen, bucket_of(folder)
        self._pushed: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._push_often, daemon=True, name="push")

    def __enter__(self) -> Self:
        """Push what is there, and go on in the background."""
        if self._bucket is not None:
            self.push()
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Push what is left."""
        if self._bucket is not None:
            self._over.set()
            self._thread.join()
            self.push()

    def push(self) -> None:
        """Push every file that changed, and remove those from the bucket that are gone here.

        Raises:
            StorageError: If the bucket does not take it.
        """
        if self._bucket is None:
            return
        with self._lock:
            present = dict(self._files())
            for name, version in present.items():
                if self._pushed.get(name) != version:
                    self._bucket.upload(self._folder / name, name)
                    self._pushed[name] = version
            for name in self._pushed.keys() - present.keys():
                self._bucket.delete(name)
                del self._pushed[name]

    def _push_often(self) -> None:
        while not self._over.wait(PUSH_SECONDS):
            try:
                self.push()
            except StorageError as error:  # tried again; the last push, or the next report, tells
                logger.warning("not pushed yet: %s", error)

    def _files(self) -> Iterator[tuple[str, tuple[int, int]]]:
        for path in sorted(self._folder.rglob("*")):
            name = path.relative_to(self._folder).as_posix()
            if self._chosen(name):
                with suppress(FileNotFoundError):  # replaced or removed in this moment
                    found = path.stat()
                    if S_ISREG(found.st_mode):
                        yield name, (found.st_size, found.st_mtime_ns)


def matching(*patterns: str) -> Chosen:
    """Choose the files whose name matches a pattern; `*` stands for slashes too."""
    return lambda name: any(fnmatch(name, pattern) for pattern in patterns)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Be the only process of this machine that pulls a folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
