"""The shipped file for AWS against a mock of it: what `ray up` would make, and what doctor says."""

import json
from pathlib import Path

import boto3
import pytest
import yaml

from neft_ray.launch import aws as checks
from neft_ray.launch.cluster_checks import file_findings
from tests.unit.bucket_server import aws
from tests.unit.cluster_files import changed
from tests.unit.cluster_files import told as told_of

CLUSTERS = Path(__file__).parents[2] / "clusters"
ADDRESS = "203.0.113.7/32"


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    """An account with the shipped stack in it; yields an image of it."""
    home = tmp_path_factory.mktemp("home")
    (home / ".ssh").mkdir()
    with aws(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))  # Ray leaves its key there
        vpc = boto3.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
        given = {"Vpc": vpc, "Address": ADDRESS, "Bucket": "mine"}
        boto3.client("cloudformation").create_stack(
            StackName="neft-ray",
            TemplateBody=(CLUSTERS / "aws-account.yaml").read_text(),
            Capabilities=["CAPABILITY_NAMED_IAM"],
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()],
        )
        yield boto3.client("ec2").describe_images()["Images"][0]["ImageId"]


@pytest.fixture
def filled(account, tmp_path):
    """The shipped file with its marked lines changed."""
    text = (CLUSTERS / "aws.yaml").read_text()
    text = text.replace("s3://BUCKET", "s3://mine").replace("ImageId: AMI", f"ImageId: {account}")
    (tmp_path / "aws.yaml").write_text(text)
    return tmp_path / "aws.yaml"


@pytest.fixture(scope="module")
def machines(account, tmp_path_factory):
    """One machine of every type, as Ray would make it, by type."""
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.commands import _bootstrap_config

    text = (CLUSTERS / "aws.yaml").read_text().replace("ImageId: AMI", f"ImageId: {account}")
    config = _bootstrap_config(yaml.safe_load(text), no_config_cache=True)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name, kind in config["available_node_types"].items():
        tags = {"ray-node-type": "worker", "ray-user-node-type": name}
        provider.create_node(kind["node_config"], tags, 1)
    found = {}
    for reservation in boto3.client("ec2").describe_instances()["Reservations"]:
        for machine in reservation["Instances"]:
            tags = {tag["Key"]: tag["Value"] for tag in machine["Tags"]}
            found[tags["ray-user-node-type"]] = machine | {"tags": tags}
    return found


def told(file):
    return told_of(file, file_findings, checks.key_findings, checks.account_findings)


def test_only_ssh_from_one_address_comes_in(machines):
    ids = {group["GroupId"] for m in machines.values() for group in m["SecurityGroups"]}
    (group,) = boto3.client("ec2").describe_security_groups(GroupIds=list(ids))["SecurityGroups"]
    outside = [rule for rule in group["IpPermissions"] if rule["IpRanges"] or rule["Ipv6Ranges"]]
    assert [(r["FromPort"], r["ToPort"], r["IpRanges"]) for r in outside] == [
        (22, 22, [{"CidrIp": ADDRESS}])
    ]
    inside = [rule for rule in group["IpPermissions"] if rule["UserIdGroupPairs"]]
    assert [pair["GroupId"] for r in inside for pair in r["UserIdGroupPairs"]] == list(ids)


def test_machines_are_what_the_file_says(machines):
    kinds = {name: (m["InstanceType"], m.get("InstanceLifecycle")) for name, m in machines.items()}
    assert kinds == {
        "head": ("m7i.xlarge", None),
        "g5_spot": ("g5.12xlarge", "spot"),
        "g5": ("g5.12xlarge", None),
        "p4d_spot": ("p4d.24xlarge", "spot"),
        "p5_spot": ("p5.48xlarge", "spot"),
    }
    for name, machine in machines.items():
        assert machine["MetadataOptions"]["HttpTokens"] == "required"
        assert machine["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
        assert machine["tags"]["budget"] == "neft-ray"
        role = "head" if name == "head" else "worker"
        assert machine["IamInstanceProfile"]["Arn"].endswith(f"instance-profile/neft-ray-{role}")
        for disk in machine["BlockDeviceMappings"]:
            volumes = boto3.client("ec2").describe_volumes(VolumeIds=[disk["Ebs"]["VolumeId"]])
            assert all(v["Encrypted"] and v["VolumeType"] == "gp3" for v in volumes["Volumes"])


def test_roles_reach_the_bucket_and_nothing_else_of_s3(account):
    iam = boto3.client("iam")
    for role in ("neft-ray-head", "neft-ray-worker"):
        attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        assert attached
        for policy in attached:
            version = iam.get_policy(PolicyArn=policy["PolicyArn"])["Policy"]["DefaultVersionId"]
            document = iam.get_policy_version(PolicyArn=policy["PolicyArn"], VersionId=version)
            for entry in document["PolicyVersion"]["Document"]["Statement"]:
                actions = json.dumps(entry["Action"])
                assert "*" not in actions.replace("ec2:Describe*", "")
                if "s3:" in actions:
                    assert entry["Resource"].startswith("arn:aws:s3:::mine")


def test_a_file_that_is_filled_in_has_no_problem(filled):
    assert told(filled) == []


def test_placeholders_of_the_shipped_file_are_told(account):
    lines = told(CLUSTERS / "aws.yaml")
    assert any("'s3://BUCKET/runs' is a placeholder" in line for line in lines)
    assert any("'AMI' is a placeholder" in line for line in lines)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("HttpTokens:", "HttpToken:", "HttpToken: unknown to AWS; did you mean 'HttpTokens'?"),
        ("VolumeType:", "VolumType:", "VolumType: unknown to AWS; did you mean 'VolumeType'?"),
        ("m7i.xlarge", "m7i.huge", "InstanceType: m7i.huge: The following supplied"),
        ("ImageId: ami", "ImageId: ami-0000", "ImageId: ami-0000"),
        ("neft-ray-head}", "someone}", "IamInstanceProfile: someone: Instance profile someone"),
        ("GroupName: neft-ray", "GroupName: mine", "there is no security group 'mine'"),
        ("{GroupName: neft-ray}", "{}", "opens ssh to the whole world"),
    ],
)
def test_what_is_wrong_is_told_before_a_machine_is_paid_for(filled, old, new, text):
    lines = told(changed(filled, old, new))
    assert any(text in line for line in lines), lines
    assert all(line.split(":")[0].isdigit() for line in lines)


def test_a_group_that_opens_more_than_ssh_is_told(filled):
    ec2 = boto3.client("ec2")
    made = ec2.create_security_group(GroupName="open", Description="all of it")
    rule = {"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535}
    ec2.authorize_security_group_ingress(
        GroupId=made["GroupId"], IpPermissions=[rule | {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    )
    lines = told(changed(filled, "GroupName: neft-ray", "GroupName: open"))
    assert any("open opens ports 0–65535 to" in line for line in lines), lines
    assert any("open lets the whole world in" in line for line in lines)


def test_without_a_login_that_is_the_only_thing_told(filled, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (line,) = told(filled)
    assert "AWS does not let you in: Unable to locate credentials" in line
