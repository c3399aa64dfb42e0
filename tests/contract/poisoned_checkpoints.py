"""Checkpoints with a payload in one file each, and the size and checksum that belong to it."""

import json
import os
import pickle
import shutil
from pathlib import Path

import torch
from torch.distributed.checkpoint.metadata import BytesStorageMetadata

from neft_ray.train.contents import STATE_FILE, noted


class Payload:
    """An object that makes a folder when a pickle with it is read."""

    def __init__(self, marker):
        self._marker = str(marker)

    def __reduce__(self):
        return os.makedirs, (self._marker, 0o777, True)


def poisoned(sound: Path, target: Path, markers: Path) -> dict[str, Path]:
    """Copies of a checkpoint, each in a folder of its own below the target.

    Args:
        sound: A checkpoint.
        target: A new folder.
        markers: Where each payload makes a folder, called as the attack is.

    Returns:
        By the attack, `FILE WAY`, the folder of checkpoints that holds the copy.
    """
    markers.mkdir()
    attacks = {}
    files = sorted(file for file in sound.rglob("*") if file.is_file())
    for file in files:
        for way in (instead, saved, among):
            name = f"{file.name} {way.__name__}"
            copy = shutil.copytree(sound, target / name / sound.name)
            changed = way(copy / file.relative_to(sound), Payload(markers / name))
            if changed is None:
                shutil.rmtree(target / name)
                continue
            attacks[name] = target / name
            if file.name != STATE_FILE:
                _seal(copy, changed)
    return attacks


def instead(file, payload):
    """A bare pickle in place of the file."""
    file.write_bytes(pickle.dumps(payload))
    return [file]


def saved(file, payload):
    """What torch saves of it in place of the file."""
    with file.open("wb") as stream:
        torch.save(payload, stream)
    return [file]


def among(file, payload):
    """All that was in the file, and the payload where nobody misses anything."""
    if file.suffix == ".pt":
        content = torch.load(file, weights_only=False)
        torch.save(content | {"more": payload}, file)
    elif file.name == ".metadata":
        content = pickle.loads(file.read_bytes())
        content.storage_data["more"] = payload
        file.write_bytes(pickle.dumps(content))
    elif file.suffix == ".distcp":
        return _pointed_at(file, payload)
    else:
        return None
    return [file]


def _pointed_at(file, payload):
    """The payload at the end of a file of shards; a plain value is said to lie there."""
    index = file.with_name(".metadata")
    content = pickle.loads(index.read_bytes())
    plain = {
        name
        for name, entry in content.state_dict_metadata.items()
        if isinstance(entry, BytesStorageMetadata)
    }
    places = [p for i, p in content.storage_data.items() if i.fqn in plain]
    for place in places:
        place.relative_path, place.offset = file.name, file.stat().st_size
    with file.open("ab") as end:
        torch.save(payload, end)
    for place in places:
        place.length = file.stat().st_size - place.offset
    index.write_bytes(pickle.dumps(content))
    return [file, index]


def _seal(folder, files):
    """Write down what was changed, as `save` would have."""
    state = json.loads((folder / STATE_FILE).read_text())
    for name, (num_bytes, total) in noted(folder, files).items():
        state["file_bytes"][name], state["file_sums"][name] = num_bytes, total
    (folder / STATE_FILE).write_text(json.dumps(state))
