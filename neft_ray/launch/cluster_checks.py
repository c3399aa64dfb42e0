"""What is wrong with a cluster file before any machine is asked: keys, placeholders, files here."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator

from neft_ray.config.cluster import LOCAL, ClusterFile
from neft_ray.config.places import Finding
from neft_ray.config.places import Path as Keys
from neft_ray.errors import did_you_mean

PLACEHOLDERS = ("HEAD_ADDRESS", "WORKER_ADDRESS", "USER", "BUCKET", "AMI", "PROJECT")
"""In shipped files, where only its user knows what to write."""
TOOLS = ("ssh", "rsync")
_PLACEHOLDER = re.compile(rf"(?<![A-Za-z_])(?:{'|'.join(PLACEHOLDERS)})(?![A-Za-z_])")


def file_findings(cluster: ClusterFile) -> Iterator[Finding]:
    """Yield what is wrong in the file, by key."""
    yield from _unknown_to_ray(cluster.values)
    if cluster.provider["type"] != LOCAL and "available_node_types" not in cluster.values:
        yield Finding(("available_node_types",), "missing", "see the file in clusters/ for it")
    for path, value in _leaves(cluster.values):
        if _PLACEHOLDER.search(value) and not str(path[0]).endswith("commands"):
            yield Finding(path, f"{value!r} is a placeholder", "write your own")


def findings_here(cluster: ClusterFile) -> Iterator[Finding]:
    """Yield what is missing on this machine, by the key that needs it."""
    for tool in TOOLS:
        if shutil.which(tool) is None:
            yield Finding((), f"{tool} is not installed here", "install it: Ray needs it too")
    key = cluster.auth.get("ssh_private_key")
    if key is not None and not Path(key).expanduser().is_file():
        remedy = "name the key that opens the machines, or make one with ssh-keygen"
        yield Finding(("auth", "ssh_private_key"), f"{key} does not exist", remedy)
    mounts = cluster.values.get("file_mounts")
    for target, source in mounts.items() if isinstance(mounts, dict) else ():
        if not Path(source).expanduser().exists():
            remedy = "make it, or take the line out"
            if source.endswith("auth_token"):
                remedy = "run `ray get-auth-token --generate`"
            yield Finding(("file_mounts", target), f"{source} does not exist", remedy)
        elif source.endswith("auth_token") and Path(source).expanduser().stat().st_mode & 0o077:
            what = f"{source} can be read by others on this machine"
            yield Finding(("file_mounts", target), what, f"chmod 600 {source}")


def _unknown_to_ray(values: dict[str, Any]) -> Iterator[Finding]:
    """Yield where the file is not what Ray's own schema asks for."""
    spec = find_spec("ray")
    assert spec is not None and spec.origin is not None
    schema = json.loads(
        Path(spec.origin).with_name("autoscaler").joinpath("ray-schema.json").read_text()
    )
    for error in Draft7Validator(schema).iter_errors(_as_json(values)):
        path: Keys = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            known = error.schema["properties"]
            for key in error.instance.keys() - known.keys():
                yield Finding((*path, key), "unknown key", did_you_mean(key, known))
        else:
            yield Finding(path, error.message[:200], "see Ray's cluster YAML reference")


def _leaves(value: Any, path: Keys = ()) -> Iterator[tuple[Keys, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _leaves(item, (*path, number))
    elif isinstance(value, str):
        yield path, value


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))
