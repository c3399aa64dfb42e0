"""What is wrong with the network of AWS machines that have several cards: EFA and its subnet.

Ray puts what a launch template says below a type's `node_config`, and takes subnet and groups from
its `NetworkInterfaces`. A machine with more than one of them gets no public address from AWS.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from neft_ray.config.cluster import ClusterFile
from neft_ray.config.places import Finding
from neft_ray.config.places import Path as Keys

STACK = "deploy clusters/aws-account.yaml"
EFA_STACK = f"{STACK} with EfaZone and PublicSubnet"
EVERYWHERE = "0.0.0.0/0"


def network_findings(cluster: ClusterFile, session: Any) -> Iterator[Finding]:
    """Yield launch templates that are not there, and network cards that would not work.

    Args:
        cluster: The file.
        session: Of boto3, in the cluster's region and logged in.
    """
    ec2 = session.client("ec2")
    for name, kind in cluster.node_types.items():
        config = kind["node_config"]
        path: Keys = ("available_node_types", name, "node_config")
        template = config.get("LaunchTemplate")
        if template is not None:
            path = (*path, "LaunchTemplate")
            try:
                config = _of_template(ec2, template) | config
            except ec2.exceptions.ClientError as error:
                which = template.get("LaunchTemplateName") or template.get("LaunchTemplateId")
                what = f"{which}: {error.response['Error']['Message']}"
                yield Finding(path, what, STACK)
                continue
        if cards := config.get("NetworkInterfaces"):
            yield from _cards(ec2, cards, config.get("InstanceType"), path)
            yield from _subnet(ec2, cluster, cards, path)
            yield from _groups(ec2, cards, path)


def _of_template(ec2: Any, template: dict[str, Any]) -> dict[str, Any]:
    """Return what a launch template says, in the version that Ray asks for."""
    asked = {key: value for key, value in template.items() if key != "Version"}
    versions = [str(template.get("Version", "$Default"))]
    (found,) = ec2.describe_launch_template_versions(**asked, Versions=versions)[
        "LaunchTemplateVersions"
    ]
    data: dict[str, Any] = found["LaunchTemplateData"]
    return data


def _cards(
    ec2: Any, cards: list[dict[str, Any]], kind: str | None, path: Keys
) -> Iterator[Finding]:
    """Look whether a machine type has the cards that are asked for."""
    found = ec2.describe_instance_types(Filters=[{"Name": "instance-type", "Values": [kind or ""]}])
    for entry in found["InstanceTypes"]:
        network = entry["NetworkInfo"]
        most = max(card.get("NetworkCardIndex", 0) for card in cards) + 1
        if most > network["MaximumNetworkCards"]:
            what = f"{kind} has {network['MaximumNetworkCards']} network cards, and {most} are used"
            yield Finding(path, what, "number them from 0 to the last that it has")
        if _has_efa(cards) and not network["EfaSupported"]:
            yield Finding(path, f"{kind} has no EFA", "take out InterfaceType, or choose p4d or p5")


def _has_efa(cards: list[dict[str, Any]]) -> bool:
    return any(card.get("InterfaceType", "").startswith("efa") for card in cards)


def _subnet(
    ec2: Any, cluster: ClusterFile, cards: list[dict[str, Any]], path: Keys
) -> Iterator[Finding]:
    """Look whether Ray takes the cards' subnet, and whether machines in it reach the world."""
    named = {card.get("SubnetId", "") for card in cards}
    if len(named) != 1 or "" in named:
        yield Finding(path, "its network cards are not all in one subnet", "EFA leaves no subnet")
        return
    (subnet_id,) = named
    by_id = [{"Name": "subnet-id", "Values": [subnet_id]}]
    subnets = ec2.describe_subnets(Filters=by_id)["Subnets"]
    if not subnets:
        yield Finding(path, f"there is no subnet {subnet_id}", EFA_STACK)
        return
    zone = subnets[0]["AvailabilityZone"]
    given = cluster.provider.get("availability_zone")
    zones = [it.strip() for it in given.split(",")] if given else [zone]
    is_private = cluster.provider.get("use_internal_ips", False)
    if zone not in zones:
        what = f"subnet {subnet_id} is in {zone}, which provider.availability_zone does not name"
        yield Finding(path, what, f"add {zone} there, at the end")
    elif given and zone == zones[0] and not is_private:
        what = f"subnet {subnet_id} is in {zone}, in which Ray would make the head too"
        remedy = "name another zone first: nobody reaches a head in this subnet"
        yield Finding(("provider", "availability_zone"), what, remedy)
    if not (subnets[0]["MapPublicIpOnLaunch"] or is_private):
        what = f"subnet {subnet_id} gives no public addresses: Ray refuses it"
        yield Finding(path, what, "let it say that it does: machines with several cards get none")
    if len(cards) > 1 and not _goes_out_by_nat(ec2, subnet_id, subnets[0]["VpcId"]):
        what = f"subnet {subnet_id} has no NAT gateway, and these machines get no public address"
        yield Finding(path, what, EFA_STACK)


def _goes_out_by_nat(ec2: Any, subnet_id: str, vpc: str) -> bool:
    """Whether what a subnet sends to the world goes through a NAT gateway or the like."""
    own = [{"Name": "association.subnet-id", "Values": [subnet_id]}]
    main = [
        {"Name": "association.main", "Values": ["true"]},
        {"Name": "vpc-id", "Values": [vpc]},
    ]
    tables = ec2.describe_route_tables(Filters=own)["RouteTables"]
    tables = tables or ec2.describe_route_tables(Filters=main)["RouteTables"]
    out = [r for t in tables for r in t["Routes"] if r.get("DestinationCidrBlock") == EVERYWHERE]
    return any(not route.get("GatewayId", "").startswith("igw-") for route in out)


def _groups(ec2: Any, cards: list[dict[str, Any]], path: Keys) -> Iterator[Finding]:
    """Look whether security groups let EFA through, which has no addresses to be named by."""
    named = sorted({group for card in cards for group in card.get("Groups", ())})
    if not all(card.get("Groups") for card in cards):
        yield Finding(path, "a network card has no security group", f"Ray needs Groups: {STACK}")
    by_id = [{"Name": "group-id", "Values": named}]
    found = ec2.describe_security_groups(Filters=by_id)["SecurityGroups"] if named else []
    for group in found:
        for way, rules in (("in", "IpPermissions"), ("out", "IpPermissionsEgress")):
            peers = [
                pair["GroupId"]
                for rule in group[rules]
                if rule["IpProtocol"] == "-1"
                for pair in rule["UserIdGroupPairs"]
            ]
            if _has_efa(cards) and group["GroupId"] not in peers:
                what = f"{group['GroupName']} lets nothing {way} between its own machines"
                remedy = "EFA needs a rule for all traffic that names the group itself"
                yield Finding(path, what, f"{remedy}: {STACK}")
    for missing in set(named) - {group["GroupId"] for group in found}:
        yield Finding(path, f"there is no security group {missing}", STACK)
