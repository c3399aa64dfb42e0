"""The folder of one model's replies to one set: written as they come, gone on with after a kill."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from neft_ray.errors import StorageError, bad_input
from neft_ray.files import write_whole
from neft_ray.generate.replies import Reply

IDENTITY_FILE, REPLIES_FILE = "settings.json", "replies.jsonl"


class Record:
    """Replies on disk, and what they depend on."""

    def __init__(self, folder: Path, identity: dict[str, Any], overwrite: bool = False) -> None:
        """Open a folder, or make it.

        Args:
            folder: Of these replies alone.
            identity: What they depend on, in values that JSON has.
            overwrite: Begin anew if it holds replies of another identity.

        Raises:
            UserError: If it does and `overwrite` is not given, or its settings are damaged.
            StorageError: If it cannot be written.
        """
        self.folder = folder
        self._file = folder / REPLIES_FILE
        settings = folder / IDENTITY_FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            before = json.loads(settings.read_text("utf-8")) if settings.exists() else identity
            if before != identity:
                if not overwrite:
                    raise self._refusal(before, identity)
                for file in (self._file, *filter(Path.is_file, folder.iterdir())):
                    if file != settings:  # the last to change: until then the old ones hold
                        file.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError.of(folder, error) from error
        except ValueError as error:
            what, remedy = f"is damaged ({error})", "delete the folder: its replies come anew"
            raise bad_input(settings, what, remedy) from None
        write_json(settings, identity)

    def _refusal(self, before: dict[str, Any], identity: dict[str, Any]) -> Exception:
        keys = sorted(before.keys() | identity.keys())
        changed = [
            f"{k} {before.get(k)} → {identity.get(k)}"
            for k in keys
            if before.get(k) != identity.get(k)
        ]
        what = f"holds replies of other settings: {', '.join(changed)}"
        return bad_input(self.folder, what, "--set overwrite=true replaces them")

    def replies(self) -> dict[int, Reply]:
        """Return what is there, by number; a line that was cut off by a kill is removed."""
        if not self._file.exists():
            return {}
        whole, newline, rest = self._file.read_bytes().rpartition(b"\n")
        if rest:
            with self._file.open("r+b") as file:
                file.truncate(len(whole) + len(newline))
        found = [_reply(line) for line in whole.decode("utf-8").split("\n") if line]
        return {reply.number: reply for reply in found}

    def add(self, replies: Iterable[Reply]) -> None:
        """Append replies; they are on disk when this returns.

        Raises:
            StorageError: If the disk is full or not writable.
        """
        lines = [json.dumps(asdict(reply), ensure_ascii=False) + "\n" for reply in replies]
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write("".join(lines))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError.of(self.folder, error) from error


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, all or nothing.

    Raises:
        StorageError: If the disk is full or not writable.
    """
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _reply(line: str) -> Reply:
    found = json.loads(line)
    texts, num_tokens, ends = (tuple(found[key]) for key in ("texts", "num_tokens", "ends"))
    return Reply(found["number"], texts, num_tokens, ends)
