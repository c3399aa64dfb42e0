"""The shipped file for AWS against a mock of it: what `ray up` would make, and what doctor says."""

import json

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from neft_ray.config.cluster import load_cluster
from neft_ray.launch import aws as checks
from neft_ray.launch import doctor
from neft_ray.launch.cluster_checks import file_findings
from tests.system.aws_account import ADDRESS, CLUSTERS, deploy, filled_file, new_account, started
from tests.unit.cluster_files import changed
from tests.unit.cluster_files import told as told_of


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    """An account with the shipped stack in it; yields an image of it."""
    with new_account(tmp_path_factory.mktemp("home")):
        yield deploy()


@pytest.fixture
def filled(account, tmp_path):
    return filled_file(account, tmp_path)


@pytest.fixture(scope="module")
def machines(account):
    """One machine of every type, as Ray would make it, by type."""
    text = (CLUSTERS / "aws.yaml").read_text().replace("ImageId: AMI", f"ImageId: {account}")
    return {name: machine for name, (_, machine) in started(text).items()}


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
        ("neft-ray-p4d", "mine", "LaunchTemplate: mine: "),
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


def test_what_you_may_not_look_at_is_told_in_one_line(filled, monkeypatch):
    def refused(cluster, session):
        told = {"Code": "UnauthorizedOperation", "Message": "You are not authorized"}
        raise ClientError({"Error": told}, "DescribeSecurityGroups")

    monkeypatch.setattr(checks, "_group", refused)
    (line,) = told(filled)
    assert "AWS does not say what the account has: " in line
    assert "You are not authorized; let your own user describe" in line


def quotas(file, **values):
    """What the check of quotas finds where AWS tells these, by their names."""
    client = boto3.client("service-quotas")
    with Stubber(client) as answers:
        for code, value in values.items():
            asked = {"ServiceCode": "ec2", "QuotaCode": code.replace("_", "-")}
            quota = {"Quota": {"QuotaCode": asked["QuotaCode"], "Value": float(value)}}
            answers.add_response("get_service_quota", quota, asked)
        cluster = load_cluster(file)
        too_little, unknown = checks.quotas(cluster, client)
        answers.assert_no_pending_responses()
    return [str(problem) for problem in cluster.places.problems(too_little)], unknown


def test_a_quota_that_is_too_small_is_told_of_spot_and_of_on_demand(filled):
    assert quotas(filled, L_3819A6DF=48, L_DB2E81BA=48) == ([], [])
    (line,), unknown = quotas(filled, L_3819A6DF=47, L_DB2E81BA=48)
    assert "g5_spot.node_config.InstanceType: needs 48 virtual cores spot" in line
    assert "quota L-3819A6DF is 47" in line
    (line,), unknown = quotas(filled, L_3819A6DF=48, L_DB2E81BA=0)
    assert "g5.node_config.InstanceType: needs 48 virtual cores on demand" in line
    assert unknown == []


def test_only_types_that_may_be_asked_for_are_looked_at(filled):
    changed(filled, "max_workers: 0", "max_workers: 1")  # p4d
    (line,), unknown = quotas(filled, L_3819A6DF=48, L_DB2E81BA=48, L_7212CCBC=95)
    assert "p4d_spot.node_config.InstanceType: needs 96 virtual cores spot" in line
    assert unknown == []


def test_a_quota_that_cannot_be_asked_is_said_to_be_unknown(filled):
    checked = doctor._quotas(load_cluster(filled))  # moto knows of no quota of EC2
    assert not checked.is_fine
    assert checked.problems == ()
    assert "unknown: g5_spot: L-3819A6DF, " in checked.told
    assert "unknown: g5: L-DB2E81BA, " in checked.told
    other = changed(filled, "InstanceType: g5.12xlarge", "InstanceType: trn1.32xlarge")
    told = doctor._quotas(load_cluster(other)).told
    assert "unknown: g5_spot: which quota trn1.32xlarge counts in" in told
