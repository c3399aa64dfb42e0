"""What is wrong with a cluster file for AWS that Ray finds out only when a machine is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from neft_ray.config.cluster import ClusterFile
from neft_ray.config.places import Finding
from neft_ray.config.places import Path as Keys
from neft_ray.errors import did_you_mean
from neft_ray.launch.aws_network import network_findings

TYPES: Keys = ("available_node_types",)
RAYS_OWN = ("SubnetIds",)
"""Keys of `node_config` that Ray takes out before it asks for a machine."""
QUOTAS = {
    ("g", "vt"): ("L-3819A6DF", "L-DB2E81BA"),
    ("p",): ("L-7212CCBC", "L-417A185B"),
    tuple("acdhimrtz"): ("L-34B43A08", "L-1216C47A"),
}
"""AWS' names of how many virtual cores an account may have at a time, spot and on demand, by the
letters with which the names of machine types begin."""


def key_findings(cluster: ClusterFile) -> Iterator[Finding]:
    """Yield keys that `run_instances` does not know, and what Ray needs; nobody is asked."""
    if find_spec("boto3") is None:
        what, remedy = "needs boto3", "pip install 'neft-ray[s3]'"
        yield Finding(("provider", "type"), what, remedy)
        return
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    if not cluster.provider.get("region"):
        yield Finding(("provider", "region"), "missing", "Ray needs it for AWS")
    service = ServiceModel(Loader().load_service_model("ec2", "service-2"))
    shape = service.operation_model("RunInstances").input_shape
    for name, kind in cluster.node_types.items():
        yield from _unknown(kind["node_config"], shape, (*TYPES, name, "node_config"))


def account_findings(cluster: ClusterFile) -> Iterator[Finding]:
    """Yield what the account does not have: machine types, images, roles, the group, networks."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        session = _session(cluster)
        session.client("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        remedy = "log in (`aws configure`, `aws sso login`), or set AWS_PROFILE"
        yield Finding(("provider",), f"AWS does not let you in: {error}", remedy)
        return
    try:
        yield from _group(cluster, session)
        for name, kind in cluster.node_types.items():
            yield from _named(session, kind["node_config"], (*TYPES, name, "node_config"))
        yield from network_findings(cluster, session)
    except (BotoCoreError, ClientError) as error:
        remedy = "let your own user describe what is in EC2 and IAM"
        yield Finding(("provider",), f"AWS does not say what the account has: {error}", remedy)


def quotas(cluster: ClusterFile, client: Any = None) -> tuple[list[Finding], list[str]]:
    """Look whether the account may have one machine of every type that may be asked for.

    Args:
        cluster: The file.
        client: Of AWS' service-quotas; None: made here.

    Returns:
        What is too little, and what could not be found out, with the reason.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    client = client or _session(cluster).client("service-quotas")
    too_little, unknown = [], []
    for name, kind in cluster.node_types.items():
        config, cores = kind["node_config"], kind.get("resources", {}).get("CPU", 0)
        machine = config.get("InstanceType", "")
        if not (kind.get("max_workers") and machine):
            continue
        is_spot = config.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        code = _quota_of(machine, is_spot)
        if code is None:
            unknown.append(f"{name}: which quota {machine} counts in")
            continue
        try:
            answer = client.get_service_quota(ServiceCode="ec2", QuotaCode=code)
        except (BotoCoreError, ClientError) as error:  # who may start machines may not look
            unknown.append(f"{name}: {code}, {error}")
            continue
        if (value := answer["Quota"]["Value"]) < cores:
            way = "spot" if is_spot else "on demand"
            what = f"needs {cores} virtual cores {way}, and the account's quota {code} is {value:g}"
            path = (*TYPES, name, "node_config", "InstanceType")
            too_little.append(Finding(path, what, "ask AWS for more, or choose a smaller one"))
    return too_little, unknown


def _quota_of(machine: str, is_spot: bool) -> str | None:
    """Return AWS' name of the quota that a machine type counts in; None where it is not known."""
    family = re.split(r"\d", machine)[0]
    pairs = (codes for families, codes in QUOTAS.items() if family in families)
    spot, on_demand = next(pairs, (None, None))
    return spot if is_spot else on_demand


def _session(cluster: ClusterFile) -> Any:
    import boto3

    return boto3.session.Session(region_name=cluster.provider["region"])


def _unknown(value: Any, shape: Any, path: Keys) -> Iterator[Finding]:
    if shape.type_name == "structure" and isinstance(value, dict):
        known = [*shape.members, *(RAYS_OWN if path[-1] == "node_config" else ())]
        for key, item in value.items():
            if key not in known:
                yield Finding((*path, key), "unknown to AWS", did_you_mean(key, known))
            elif key in shape.members:
                yield from _unknown(item, shape.members[key], (*path, key))
    elif shape.type_name == "list" and isinstance(value, list):
        for number, item in enumerate(value):
            yield from _unknown(item, shape.member, (*path, number))


def _group(cluster: ClusterFile, session: Any) -> Iterator[Finding]:
    """Look whether the security group is there and opens nothing but ssh to the outside."""
    name = cluster.provider.get("security_group", {}).get("GroupName")
    path = ("provider", "security_group")
    if name is None:
        what = "Ray makes a security group that opens ssh to the whole world"
        yield Finding(path, what, "deploy clusters/aws-account.yaml and name its group")
        return
    named = [{"Name": "group-name", "Values": [name]}]
    groups = session.client("ec2").describe_security_groups(Filters=named)["SecurityGroups"]
    if not groups:
        what = f"there is no security group {name!r}: Ray would make one, open to the world"
        yield Finding(path, what, "deploy clusters/aws-account.yaml")
    for group in groups:
        for rule in group["IpPermissions"]:
            sources = [entry["CidrIp"] for entry in rule["IpRanges"]]
            sources += [entry["CidrIpv6"] for entry in rule["Ipv6Ranges"]]
            if sources and (rule.get("FromPort"), rule.get("ToPort")) != (22, 22):
                what = (
                    f"{name} opens ports {rule.get('FromPort')}–{rule.get('ToPort')} to {sources}"
                )
                yield Finding(path, what, "open ssh alone: everything else goes through it")
            if {"0.0.0.0/0", "::/0"} & set(sources):
                yield Finding(path, f"{name} lets the whole world in", "name your own address")


def _named(session: Any, config: dict[str, Any], path: Keys) -> Iterator[Finding]:
    """Look whether what a machine is made of is there."""
    from botocore.exceptions import ClientError

    ec2, iam = session.client("ec2"), session.client("iam")
    profile = config.get("IamInstanceProfile", {}).get("Name")
    kind, image = config.get("InstanceType"), config.get("ImageId")
    checks: dict[str, tuple[str | None, Callable[[], Any]]] = {
        "InstanceType": (kind, lambda: ec2.describe_instance_types(InstanceTypes=[kind])),
        "ImageId": (image, lambda: ec2.describe_images(ImageIds=[image])),
        "IamInstanceProfile": (
            profile,
            lambda: iam.get_instance_profile(InstanceProfileName=profile),
        ),
    }
    for key, (value, ask) in checks.items():
        if value is None:
            continue
        try:
            ask()
        except ClientError as error:
            what = f"{value}: {error.response['Error']['Message']}"
            remedy = "deploy clusters/aws-account.yaml" if key.startswith("Iam") else "correct it"
            yield Finding((*path, key), what, remedy)
