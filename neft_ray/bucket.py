"""Files in an object store: S3 or Google's, or any that speaks S3.

Whole objects only: a reader sees an object complete or not at all. Large files go up in parts, and
what failed in passing is tried again; a file counts as uploaded once the store says its size.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from neft_ray.errors import Problem, StorageError

Version = tuple[int, float]
"""Bytes of an object, and when it was written by the store's clock, in seconds since 1970."""

ATTEMPTS = 8
"""How often a request is sent before it has failed; pauses between them double up to 20 s."""
CONNECT_SECONDS, REQUEST_SECONDS = 10.0, 60.0
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
COPY_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Bucket:
    """A folder in a bucket; names are relative to it, with slashes."""

    uri: str
    """`s3://bucket/folder`; `?region=…&endpoint_override=…&scheme=http` for other stores."""

    @property
    def folder(self) -> str:
        """Bucket and folder, as the store's library wants them."""
        parts = urlsplit(self.uri)
        return f"{parts.netloc}{parts.path}".rstrip("/")

    def below(self, name: str) -> Bucket:
        """Return a folder of this one."""
        if name == ".":
            return self
        parts = urlsplit(self.uri)
        path = f"{parts.path.rstrip('/')}/{name}"
        return Bucket(parts._replace(path=path).geturl())

    def put(self, name: str, content: bytes) -> None:
        """Write an object.

        Raises:
            StorageError: If the store does not take it.
        """
        with self._told(name), self._files.open_output_stream(self._path(name)) as stream:
            stream.write(content)

    def get(self, name: str) -> bytes | None:
        """Return an object's content; None if there is none.

        Raises:
            StorageError: If the store does not answer.
        """
        with self._told(name):
            try:
                with self._files.open_input_stream(self._path(name)) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def upload(self, path: Path, name: str) -> None:
        """Write a file as an object.

        Raises:
            StorageError: If the store does not take it, or has something else afterwards.
        """
        with self._told(name):
            with path.open("rb") as file, self._files.open_output_stream(self._path(name)) as out:
                shutil.copyfileobj(file, out, COPY_BYTES)
                num_bytes = file.tell()
            stored = self._files.get_file_info(self._path(name)).size
            if stored != num_bytes:
                raise OSError(f"{num_bytes} bytes were sent and {stored} are there")

    def download(self, name: str, path: Path) -> None:
        """Write an object to a file, which appears when it is complete.

        Raises:
            StorageError: If there is no such object, or the store does not answer.
        """
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._told(name):
            with (
                self._files.open_input_stream(self._path(name)) as stream,
                partial.open("wb") as out,
            ):
                shutil.copyfileobj(stream, out, COPY_BYTES)
            partial.replace(path)

    def copy(self, name: str, target: Bucket, target_name: str) -> None:
        """Copy an object within the store, without a detour over this machine.

        Raises:
            StorageError: If the store does not do it.
        """
        with self._told(name):
            self._files.copy_file(self._path(name), target._path(target_name))

    def versions(self, folder: str = "") -> dict[str, Version]:
        """Return what every object below a folder is at present, by name.

        Raises:
            StorageError: If the store does not answer.
        """
        return {
            info.path.removeprefix(f"{self.folder}/"): (info.size, info.mtime.timestamp())
            for info in self._list(folder, recursive=True)
            if info.is_file
        }

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Return the bytes of every object below a folder, by name.

        Raises:
            StorageError: If the store does not answer.
        """
        return {name: num_bytes for name, (num_bytes, _) in self.versions(folder).items()}

    def folders(self) -> list[str]:
        """Return the names of the folders in this one.

        Raises:
            StorageError: If the store does not answer.
        """
        return [info.base_name for info in self._list("", recursive=False) if not info.is_file]

    def delete(self, name: str) -> None:
        """Remove an object, or a folder with all that is in it; nothing happens if there is none.

        Args:
            name: Of either; empty: this folder.

        Raises:
            StorageError: If the store does not answer.
        """
        with self._told(name):
            for found in self.sizes(name):
                self._files.delete_file(self._path(found))
            if self._files.get_file_info(self._path(name)).is_file:
                self._files.delete_file(self._path(name))

    @property
    def _files(self) -> Any:
        parts = urlsplit(self.uri)
        endpoint = _set_by("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
        return _client(parts.scheme, parts.netloc, parts.query, endpoint)

    def _path(self, name: str) -> str:
        return f"{self.folder}/{name}".rstrip("/")

    def _list(self, folder: str, recursive: bool) -> list[Any]:
        from pyarrow import fs

        path = self._path(folder)
        selector = fs.FileSelector(path, recursive=recursive, allow_not_found=True)
        with self._told(folder):
            return list(self._files.get_file_info(selector))

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """Turn what a store's library raises into an error with the object's address."""
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            where = f"{self.uri.partition('?')[0]}/{name}".rstrip("/")
            what = f"the store says: {str(error).splitlines()[0][:300]}"
            remedy = "see to the bucket and its permissions, then go on with --resume"
            raise StorageError([Problem(where, what, remedy)]) from error


@cache
def _client(scheme: str, bucket: str, query: str, endpoint: str | None) -> Any:
    """Return the client of a store. Credentials are the machine's own: a role, or variables."""
    from pyarrow import fs

    options = {key: values[-1] for key, values in parse_qs(query).items()}
    if scheme == "gs":
        return fs.GcsFileSystem(**options)
    if endpoint is not None:
        options = {"endpoint_override": endpoint} | options
    if not (options.keys() & {"region", "endpoint_override"} or _set_by(*REGIONS)):
        options["region"] = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        **options,
        allow_delayed_open=True,  # what is small goes up in one request
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    )


def _set_by(*names: str) -> str | None:
    """Return the first of some variables of the environment that is set."""
    return next(filter(None, map(os.environ.get, names)), None)
