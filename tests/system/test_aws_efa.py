"""p4d and p5 on a mock of AWS whose stack has EfaZone: network cards, and what doctor says."""

import boto3
import pytest
from cfnlint.api import ManualArgs, lint

from neft_ray.launch import aws as checks
from neft_ray.launch.cluster_checks import file_findings
from tests.system.aws_account import CLUSTERS, deploy, filled_file, new_account, started
from tests.unit.cluster_files import changed
from tests.unit.cluster_files import told as told_of

ZONE = "us-east-1b"
CARDS = {"p4d_spot": 4, "p5_spot": 32}


def subnet():
    """The stack's own subnet."""
    by_name = [{"Name": "tag:Name", "Values": ["neft-ray-efa"]}]
    (found,) = boto3.client("ec2").describe_subnets(Filters=by_name)["Subnets"]
    return found


def table():
    """The routes that the stack made."""
    by_stack = [{"Name": "tag:aws:cloudformation:logical-id", "Values": ["EfaRoutes"]}]
    (found,) = boto3.client("ec2").describe_route_tables(Filters=by_stack)["RouteTables"]
    return found


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    """An account with the shipped stack in it, for EFA; yields an image of it."""
    with new_account(tmp_path_factory.mktemp("home")):
        ec2 = boto3.client("ec2")
        in_zone = [{"Name": "availability-zone", "Values": [ZONE]}]
        public = ec2.describe_subnets(Filters=in_zone)["Subnets"][0]["SubnetId"]
        image = deploy(EfaZone=ZONE, PublicSubnet=public)
        # Of a subnet moto's CloudFormation leaves out these two
        mine = subnet()["SubnetId"]
        ec2.modify_subnet_attribute(SubnetId=mine, MapPublicIpOnLaunch={"Value": True})
        ec2.associate_route_table(RouteTableId=table()["RouteTableId"], SubnetId=mine)
        yield image


@pytest.fixture
def filled(account, tmp_path):
    return filled_file(account, tmp_path)


@pytest.fixture(scope="module")
def made(account):
    """What Ray asked for and got, by type."""
    text = (CLUSTERS / "aws.yaml").read_text().replace("ImageId: AMI", f"ImageId: {account}")
    return started(text)


def told(file):
    return told_of(file, file_findings, checks.key_findings, checks.account_findings)


def template(name, **changes):
    """Give a launch template of the stack a new version with these changes; return the old one."""
    ec2 = boto3.client("ec2")
    versions = ec2.describe_launch_template_versions(LaunchTemplateName=name, Versions=["$Latest"])
    data = versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]
    ec2.create_launch_template_version(LaunchTemplateName=name, LaunchTemplateData=data | changes)
    return data


@pytest.mark.parametrize("name", CARDS)
def test_every_network_card_has_an_efa_and_only_the_first_an_address(made, name):
    asked, machine = made[name]
    cards = asked["NetworkInterfaces"]
    assert [card["NetworkCardIndex"] for card in cards] == list(range(CARDS[name]))
    assert [card["DeviceIndex"] for card in cards] == [0] + [1] * (CARDS[name] - 1)
    kinds = [card["InterfaceType"] for card in cards]
    assert kinds == ["efa"] + ["efa-only"] * (CARDS[name] - 1)
    assert all(card["DeleteOnTermination"] for card in cards)
    assert machine["InstanceLifecycle"] == "spot"


@pytest.mark.parametrize("name", CARDS)
def test_machines_are_together_in_one_subnet_of_the_stack_and_its_group(made, name):
    asked, machine = made[name]
    cards = asked["NetworkInterfaces"]
    assert {card["SubnetId"] for card in cards} == {subnet()["SubnetId"]}
    assert (subnet()["AvailabilityZone"], machine["SubnetId"]) == (ZONE, subnet()["SubnetId"])
    groups = {tuple(card["Groups"]) for card in cards}
    _, other = made["g5"]
    assert groups == {tuple(group["GroupId"] for group in other["SecurityGroups"])}
    assert not {"SubnetId", "SecurityGroupIds"} & asked.keys()  # AWS takes them in cards alone
    kind = name.removesuffix("_spot")
    assert asked["Placement"]["GroupName"].startswith(f"neft-ray-{kind.capitalize()}Group-")
    assert asked["LaunchTemplate"]["LaunchTemplateName"] == f"neft-ray-{kind}"


def test_the_head_and_other_workers_are_elsewhere_with_one_card_and_a_public_address(made):
    by_id = {s["SubnetId"]: s for s in boto3.client("ec2").describe_subnets()["Subnets"]}
    for name in made.keys() - CARDS.keys():
        asked, machine = made[name]
        assert not {"NetworkInterfaces", "Placement", "LaunchTemplate"} & asked.keys()
        assert by_id[machine["SubnetId"]]["AvailabilityZone"] == "us-east-1a"


def test_the_group_lets_everything_in_and_out_between_its_machines(account):
    (group,) = boto3.client("ec2").describe_security_groups(GroupNames=["neft-ray"])[
        "SecurityGroups"
    ]
    for rules in ("IpPermissions", "IpPermissionsEgress"):
        own = [rule for rule in group[rules] if rule["UserIdGroupPairs"]]
        assert [rule["IpProtocol"] for rule in own] == ["-1"]
        assert own[0]["UserIdGroupPairs"][0]["GroupId"] == group["GroupId"]


def test_machines_go_out_by_nat_and_to_the_bucket_for_nothing(account):
    routes = table()["Routes"]
    (out,) = [r for r in routes if r.get("DestinationCidrBlock") == "0.0.0.0/0"]
    assert out["NatGatewayId"].startswith("nat-")
    (gateway,) = boto3.client("ec2").describe_nat_gateways()["NatGateways"]
    assert gateway["SubnetId"] != subnet()["SubnetId"]
    assert any(r.get("GatewayId", "").startswith("vpce-") for r in routes)


def test_the_stack_is_sound_by_awss_own_schemas():
    text = (CLUSTERS / "aws-account.yaml").read_text()
    # PublicSubnet may be empty where there is no EfaZone, which W1030 does not see
    ignored = ManualArgs(ignore_checks=["W1030"], regions=["us-east-1"])
    assert [str(match) for match in lint(text, config=ignored)] == []
    wrong = text.replace("NetworkCardIndex: 3", "NetworkCard: 3", 1)
    assert any(
        "'NetworkCard' was unexpected" in str(match) for match in lint(wrong, config=ignored)
    )


def test_a_file_that_is_filled_in_has_no_problem(filled):
    assert told(filled) == []


def test_a_zone_that_ray_would_refuse_or_put_the_head_into_is_told(filled):
    zones = "us-east-1a,us-east-1b,us-east-1c"
    changed(filled, zones, "us-east-1a,us-east-1c")
    p4d, p5 = told(filled)
    what = f"is in {ZONE}, which provider.availability_zone does not name; add {ZONE} there"
    assert "p4d_spot.node_config.LaunchTemplate: subnet" in p4d
    assert what in p4d
    assert what in p5
    changed(filled, "us-east-1a,us-east-1c", "us-east-1b,us-east-1a")
    (line,) = told(filled)  # said once
    assert "provider.availability_zone: subnet" in line
    assert f"is in {ZONE}, in which Ray would make the head too" in line


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda cards: [*cards, cards[1] | {"NetworkCardIndex": 4}], "has 4 network cards, and 5"),
        (lambda cards: [card | {"SubnetId": "subnet-0"} for card in cards], "no subnet subnet-0"),
        (lambda cards: [cards[0], cards[1] | {"SubnetId": "subnet-0"}], "not all in one subnet"),
        (lambda cards: [card | {"Groups": ["sg-0"]} for card in cards], "no security group sg-0"),
        (lambda cards: [cards[0] | {"Groups": []}], "a network card has no security group"),
    ],
)
def test_cards_that_would_not_work_are_told(filled, change, text):
    before = template("neft-ray-p4d")
    try:
        template("neft-ray-p4d", NetworkInterfaces=change(before["NetworkInterfaces"]))
        lines = told(filled)
    finally:
        template("neft-ray-p4d", NetworkInterfaces=before["NetworkInterfaces"])
    assert any(text in line and "p4d_spot" in line for line in lines), lines
    assert told(filled) == []


def test_a_type_without_efa_is_told(filled):
    old = "InstanceType: g5.12xlarge"
    new = "InstanceType: m7i.xlarge\n      LaunchTemplate: {LaunchTemplateName: neft-ray-p4d}"
    lines = told(changed(filled, old, new))
    assert any("g5_spot.node_config.LaunchTemplate: m7i.xlarge has no EFA" in i for i in lines)


def test_a_group_that_does_not_let_efa_out_is_told(filled):
    ec2 = boto3.client("ec2")
    (group,) = ec2.describe_security_groups(GroupNames=["neft-ray"])["SecurityGroups"]
    pair = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group["GroupId"]}]}
    ec2.revoke_security_group_egress(GroupId=group["GroupId"], IpPermissions=[pair])
    try:
        lines = told(filled)
    finally:
        ec2.authorize_security_group_egress(GroupId=group["GroupId"], IpPermissions=[pair])
    assert any("neft-ray lets nothing out between its own machines" in line for line in lines)
    assert told(filled) == []


def test_a_subnet_that_nobody_leaves_or_ray_refuses_is_told(filled):
    ec2, route = boto3.client("ec2"), {"DestinationCidrBlock": "0.0.0.0/0"}
    routes = {"RouteTableId": table()["RouteTableId"]}
    (gateway,) = ec2.describe_nat_gateways()["NatGateways"]
    ec2.delete_route(**routes, **route)
    ec2.modify_subnet_attribute(SubnetId=subnet()["SubnetId"], MapPublicIpOnLaunch={"Value": False})
    try:
        lines = told(filled)
    finally:
        ec2.create_route(**routes, **route, NatGatewayId=gateway["NatGatewayId"])
        ec2.modify_subnet_attribute(
            SubnetId=subnet()["SubnetId"], MapPublicIpOnLaunch={"Value": True}
        )
    assert any("has no NAT gateway, and these machines get no public" in line for line in lines)
    assert any("gives no public addresses: Ray refuses it" in line for line in lines)
    assert told(filled) == []
