"""A Ray cluster file: where its machines are, and the section in it that is ours.

Ray keeps the key `metadata` for whoever uses a cluster. What sweeps need to know of one, where
runs lie and how MLflow is served, stands there below `neft_ray`, in the file that made the cluster.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, Field, ValidationError

from neft_ray.config.base import Name, Section, broken_rule
from neft_ray.config.explain import explain
from neft_ray.config.load import text_of
from neft_ray.config.places import Finding, Places
from neft_ray.config.places import Path as Keys
from neft_ray.config.yaml_lines import Reading, Unreadable
from neft_ray.errors import UserError, bad_input

OURS: Keys = ("metadata", "neft_ray")
BUCKETS = ("s3", "gs")
LOCAL = "local"
"""Ray's name for a cluster of machines that are simply there."""
SQLITE = "sqlite"


def _shared_place(storage: str) -> str:
    if not storage.startswith("/") and urlsplit(storage).scheme not in BUCKETS:
        what = f"{storage!r} is neither a whole path nor a bucket"
        raise broken_rule(what, "write /a/folder that every machine sees, or s3://bucket/folder")
    return storage


class MlflowOnHead(Section):
    """The MLflow server that the head starts, watches, and guards with a password."""

    port: Annotated[int, Field(ge=1024, le=65535)] = 5000
    """On the head's private address."""
    database: Name = SQLITE
    """`sqlite`: a file on the head's disk. Else a database, such as `postgresql://…`."""


class ClusterSettings(Section):
    """`metadata.neft_ray` of a cluster file."""

    storage: Annotated[Name, AfterValidator(_shared_place)]
    """Where runs lie: a folder that every machine sees, or `s3://…` or `gs://…`. A sweep file whose
    own storage is a relative folder, as on a laptop, is given this one."""
    mlflow: MlflowOnHead | None = MlflowOnHead()
    """Null: sweep files name a server of yours."""


@dataclass(frozen=True)
class ClusterFile:
    """A cluster file that was read.

    Attributes:
        path: The file.
        values: Ray's own keys and all others, as plain values.
        settings: The section that is ours.
        places: The line of every key.
    """

    path: Path
    values: dict[str, Any]
    settings: ClusterSettings
    places: Places

    @property
    def name(self) -> str:
        """The cluster's name."""
        return str(self.values["cluster_name"])

    @property
    def provider(self) -> dict[str, Any]:
        """Ray's `provider` section."""
        return dict(self.values["provider"])

    @property
    def node_types(self) -> dict[str, dict[str, Any]]:
        """Ray's `available_node_types`: each with its `node_config`, empty where it has none.

        What is no section at all, of which Ray's own schema tells, is left out.
        """
        types = self.values.get("available_node_types")
        kinds = types.items() if isinstance(types, dict) else ()
        made = {name: {"node_config": {}, **kind} for name, kind in kinds if isinstance(kind, dict)}
        return {name: it for name, it in made.items() if isinstance(it["node_config"], dict)}

    @property
    def auth(self) -> dict[str, Any]:
        """Ray's `auth` section; empty where a provider makes its own keys."""
        return dict(self.values.get("auth") or {})


def load_cluster(path: Path) -> ClusterFile:
    """Read a cluster file.

    Raises:
        UserError: If it is no cluster file, or with every problem of the section that is ours.
    """
    text = text_of(path, "a cluster file")
    try:
        reading = Reading(text)
        values = yaml.safe_load(text)  # as Ray reads it, with what `<<` merges
    except Unreadable as error:
        raise UserError(Places(str(path), {}).problems([error.finding])) from None
    except (yaml.YAMLError, ValueError) as error:  # also a date that is none
        raise bad_input(path, f"no cluster file ({error})", "see clusters/README.md") from None
    places = Places(str(path), reading.lines)
    findings = [*reading.findings, *_missing(values)]
    if not isinstance(values, dict) or findings:
        raise UserError(places.problems(findings))
    try:
        settings = ClusterSettings.model_validate(values["metadata"]["neft_ray"])
    except ValidationError as error:
        faults = explain(error, ClusterSettings)
        faults = [replace(fault, path=(*OURS, *fault.path)) for fault in faults]
        raise UserError(places.problems(faults)) from None
    return ClusterFile(path, values, settings, places)


def _missing(values: Any) -> list[Finding]:
    """Return what every cluster file has and this one has not."""
    if not isinstance(values, dict):
        return [Finding((), "no cluster file", "see clusters/README.md")]
    found = []
    for key in ("cluster_name", "provider"):
        if values.get(key) is None:
            found.append(Finding((key,), "missing", "see clusters/README.md"))
    provider = values.get("provider")
    if provider is not None and not (isinstance(provider, dict) and "type" in provider):
        found.append(Finding(("provider", "type"), "missing", "write aws, gcp or local"))
    if isinstance(provider, dict) and provider.get("type") == LOCAL:
        for key, kind in (("head_ip", str), ("worker_ips", list)):
            if not isinstance(provider.get(key), kind):
                found.append(Finding(("provider", key), "missing", "see clusters/onprem.yaml"))
    if not isinstance(values.get("auth") or {}, dict):
        found.append(Finding(("auth",), "no section", "write `auth: {ssh_user: …}`"))
    metadata = values.get("metadata")
    if not (isinstance(metadata, dict) and isinstance(metadata.get("neft_ray"), dict)):
        remedy = "add `metadata: {neft_ray: {storage: s3://bucket/folder}}`"
        found.append(Finding(OURS, "missing", remedy))
    return found
