"""What is wrong with a cluster file for Google Cloud that Ray finds out only from Google."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from neft_ray.config.cluster import ClusterFile
from neft_ray.config.places import Finding
from neft_ray.config.places import Path as Keys
from neft_ray.errors import did_you_mean

TYPES: Keys = ("available_node_types",)
NEEDED = ("project_id", "region", "availability_zone")
"""Keys of `provider` that Ray reads without asking whether they are there."""
RAYS_OWN = ("sourceInstanceTemplate",)
"""Keys of `node_config` that Ray takes out before it asks for a machine."""
WORLD = ("0.0.0.0/0", "::/0")
_ZONE = re.compile(r"(?:^|/)zones/([^/]+)/")


def key_findings(cluster: ClusterFile) -> Iterator[Finding]:
    """Yield what `instances.insert` does not take, by Google's own description; nobody is asked."""
    if find_spec("googleapiclient") is None:
        what, remedy = "needs google-api-python-client", "pip install 'neft-ray[gcp]'"
        yield Finding(("provider", "type"), what, remedy)
        return
    from googleapiclient.discovery_cache import get_static_doc

    for key in NEEDED:
        if not cluster.provider.get(key):
            yield Finding(("provider", key), "missing", "Ray needs it for Google Cloud")
    schemas = json.loads(get_static_doc("compute", "v1"))["schemas"]
    for name, kind in cluster.node_types.items():
        config, path = kind["node_config"], (*TYPES, name, "node_config")
        yield from _shape(config, {"$ref": "Instance"}, schemas, path)
        yield from _elsewhere(config, cluster.provider.get("availability_zone"), path)
        if not config.get("networkInterfaces"):
            what = "Ray takes the region's first network; Google's own opens ssh to the whole world"
            remedy = "run clusters/gcp-project.sh and name its network"
            yield Finding((*path, "networkInterfaces"), what, remedy)


def account_findings(cluster: ClusterFile) -> Iterator[Finding]:
    """Yield what the project lacks: a login, the network, a firewall that opens ssh alone."""
    from google.auth.exceptions import GoogleAuthError
    from googleapiclient.discovery import build
    from googleapiclient.errors import HttpError

    project = cluster.provider["project_id"]
    try:
        compute = build("compute", "v1", cache_discovery=False)
        rules = compute.firewalls().list(project=project).execute().get("items", [])
    except (GoogleAuthError, HttpError, TypeError) as error:  # TypeError: no name of Google's
        remedy = "log in (`gcloud auth application-default login`), or correct the project"
        yield Finding(("provider",), f"Google does not let you in: {error}", remedy)
        return
    seen = set()
    for name, kind in cluster.node_types.items():
        for network in _networks(kind["node_config"]):
            if network in seen:
                continue
            seen.add(network)
            path = (*TYPES, name, "node_config", "networkInterfaces")
            try:
                compute.networks().get(project=project, network=network).execute()
            except (HttpError, TypeError) as error:
                what = f"no network {network!r}: {getattr(error, 'reason', error)}"
                yield Finding(path, what, "run clusters/gcp-project.sh")
                continue
            tags = kind["node_config"].get("tags", {}).get("items", [])
            for rule in rules:
                if rule["network"].endswith(f"/{network}") and _is_for(rule, tags):
                    yield from _opened(rule, path)


def _shape(value: Any, schema: Any, schemas: Any, path: Keys) -> Iterator[Finding]:
    """Yield where a value is not what a schema of Google's says."""
    schema = schemas[schema["$ref"]] if "$ref" in schema else schema
    kind, allowed = schema["type"], schema.get("enum")
    if kind == "object":
        if not isinstance(value, dict):
            yield _wrong(path, value, "keys and values")
        elif "properties" in schema:
            yield from _keys(value, schema["properties"], schemas, path)
        else:  # such as labels, whose keys are their user's
            for key, item in value.items():
                yield from _shape(item, schema["additionalProperties"], schemas, (*path, key))
    elif kind == "array":
        if not isinstance(value, list):
            yield _wrong(path, value, "a list")
            return
        for number, item in enumerate(value):
            yield from _shape(item, schema["items"], schemas, (*path, number))
    elif allowed and value not in allowed:
        yield Finding(path, f"{value!r} is none of Google's", did_you_mean(str(value), allowed))
    elif not _fits(value, schema):
        yield _wrong(path, value, f"of type {kind}")


def _keys(value: dict[str, Any], known: Any, schemas: Any, path: Keys) -> Iterator[Finding]:
    own = RAYS_OWN if path[-1] == "node_config" else ()
    for key, item in value.items():
        if key in own:
            continue
        if key not in known:
            yield Finding((*path, key), "unknown to Google", did_you_mean(key, (*known, *own)))
        elif known[key].get("readOnly"):
            yield Finding((*path, key), "is Google's to say", "take it out")
        else:
            yield from _shape(item, known[key], schemas, (*path, key))


def _fits(value: Any, schema: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if schema["type"] == "string":
        # Google writes numbers of 64 bits as text, and reads either
        return isinstance(value, str) or (is_number and "64" in schema.get("format", ""))
    if schema["type"] == "boolean":
        return isinstance(value, bool)
    return is_number


def _wrong(path: Keys, value: Any, wanted: str) -> Finding:
    return Finding(path, f"{value!r} is not {wanted}", "see Google's reference of instances.insert")


def _elsewhere(value: Any, zone: str | None, path: Keys) -> Iterator[Finding]:
    """Yield what is named in another zone than machines are made in."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _elsewhere(item, zone, (*path, key))
    elif isinstance(value, str) and zone:
        found = _ZONE.search(value)
        if found is not None and found[1] != zone:
            what = f"{value} is not in the zone of `provider`, {zone}"
            yield Finding(path, what, f"write {value.replace(found[1], zone)}")


def _networks(config: dict[str, Any]) -> Iterator[str]:
    for interface in config.get("networkInterfaces", []):
        if "network" in interface:
            yield interface["network"].rpartition("/")[2]


def _is_for(rule: dict[str, Any], tags: list[str]) -> bool:
    """Tell whether a firewall's rule lets something in to machines with these tags."""
    if rule.get("disabled") or rule["direction"] != "INGRESS" or "allowed" not in rule:
        return False
    return "targetTags" not in rule or bool(set(rule["targetTags"]) & set(tags))


def _opened(rule: dict[str, Any], path: Keys) -> Iterator[Finding]:
    """Yield what a rule opens to the outside beyond ssh, or to everybody."""
    sources = rule.get("sourceRanges", [])
    if set(WORLD) & set(sources):
        what = f"the firewall's rule {rule['name']} lets the whole world in"
        yield Finding(path, what, "name your own address in it")
    outside = [source for source in sources if not ipaddress.ip_network(source).is_private]
    only_ssh = [{"IPProtocol": "tcp", "ports": ["22"]}]
    if outside and rule["allowed"] != only_ssh:
        what = f"the firewall's rule {rule['name']} opens more than ssh to {outside}"
        yield Finding(path, what, "open ssh alone: everything else goes through it")
