"""What is wrong with a cluster file for AWS that Ray finds out only when a machine is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from neft_ray.config.cluster import ClusterFile
from neft_ray.config.places import Finding
from neft_ray.config.places import Path as Keys
from neft_ray.errors import did_you_mean

TYPES: Keys = ("available_node_types",)
RAYS_OWN = ("SubnetIds",)
"""Keys of `node_config` that Ray takes out before it asks for a machine."""
QUOTAS = {
    ("G", True): "L-3819A6DF",
    ("G", False): "L-DB2E81BA",
    ("P", True): "L-7212CCBC",
    ("P", False): "L-417A185B",
}
"""AWS' names of how many virtual cores an account may have at a time: (family, spot)."""


def key_findings(cluster: ClusterFile) -> Iterator[Finding]:
    """Yield keys that `run_instances` does not know; nobody is asked."""
    import boto3

    service = boto3.session.Session(region_name="us-east-1").client("ec2").meta.service_model
    shape = service.operation_model("RunInstances").input_shape
    for name, kind in cluster.values["available_node_types"].items():
        path = (*TYPES, name, "node_config")
        yield from _unknown(kind.get("node_config", {}), shape, path)


def account_findings(cluster: ClusterFile) -> Iterator[Finding]:
    """Yield what the account does not have: machine types, images, roles, the group, cores."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    session = boto3.session.Session(region_name=cluster.provider["region"])
    try:
        session.client("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        remedy = "log in (`aws configure`, `aws sso login`), or set AWS_PROFILE"
        yield Finding(("provider",), f"AWS does not let you in: {error}", remedy)
        return
    yield from _group(cluster, session)
    for name, kind in cluster.values["available_node_types"].items():
        config = kind.get("node_config", {})
        path = (*TYPES, name, "node_config")
        yield from _named(session, config, path)
        if kind.get("max_workers"):
            yield from _quota(session, kind, path)


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


def _quota(session: Any, kind: dict[str, Any], path: Keys) -> Iterator[Finding]:
    """Look whether the account may have one machine of a type; unknown where it cannot be asked."""
    from botocore.exceptions import BotoCoreError, ClientError

    config = kind["node_config"]
    is_spot = config.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
    family, cores = config["InstanceType"][0].upper(), kind["resources"].get("CPU", 0)
    code = QUOTAS.get((family, is_spot))
    if code is None:
        return
    try:
        quotas = session.client("service-quotas")
        quota = quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"]
    except (BotoCoreError, ClientError):
        return  # who may start machines may not always look at quotas
    if quota < cores:
        what = f"needs {cores} virtual cores, and the account's quota {code} is {quota:g}"
        yield Finding((*path, "InstanceType"), what, "ask AWS for more, or choose a smaller one")
