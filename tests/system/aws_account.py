"""An account on a mock of AWS, with the shipped stack in it, and what Ray asks of it.

moto's CloudFormation knows no rules that let machines out and no placement groups: both are added.
"""

from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
import yaml
from moto.core.common_models import CloudFormationModel
from moto.ec2.models import ec2_backends
from moto.moto_api._internal.models import moto_api_backend

from tests.unit.bucket_server import aws

CLUSTERS = Path(__file__).parents[2] / "clusters"
ADDRESS = "203.0.113.7/32"


class Egress(CloudFormationModel):
    """A rule that lets a security group's machines out."""

    @staticmethod
    def cloudformation_name_type():
        return ""

    @staticmethod
    def cloudformation_type():
        return "AWS::EC2::SecurityGroupEgress"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name, cloudformation_json, account_id, region_name, **_
    ):
        rule = cloudformation_json["Properties"]
        ec2_backends[account_id][region_name].authorize_security_group_egress(
            group_name_or_id=rule["GroupId"],
            ip_protocol=rule["IpProtocol"],
            from_port=None,
            to_port=None,
            ip_ranges=[],
            source_groups=[{"GroupId": rule["DestinationSecurityGroupId"]}],
        )
        made = cls()
        made.physical_resource_id = resource_name
        return made


class PlacementGroup(CloudFormationModel):
    """A placement group, of which there is nothing but its name: moto's EC2 has none either."""

    @staticmethod
    def cloudformation_name_type():
        return ""

    @staticmethod
    def cloudformation_type():
        return "AWS::EC2::PlacementGroup"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name, cloudformation_json, account_id, region_name, **_
    ):
        assert cloudformation_json["Properties"] == {"Strategy": "cluster"}
        made = cls()
        made.physical_resource_id = resource_name
        return made


@contextmanager
def new_account(home):
    """Be an AWS with one new account, in whose owner's home Ray leaves its key."""
    (home / ".ssh").mkdir()
    with aws(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        moto_api_backend.reset()
        yield


def deploy(**more):
    """Make the stack of clusters/aws-account.yaml; return an image for its machines."""
    ec2 = boto3.client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    given = {"Vpc": vpc, "Address": ADDRESS, "Bucket": "mine", **more}
    boto3.client("cloudformation").create_stack(
        StackName="neft-ray",
        TemplateBody=(CLUSTERS / "aws-account.yaml").read_text(),
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()],
    )
    return ec2.describe_images()["Images"][0]["ImageId"]


def filled_file(image, folder):
    """Write the shipped file with its marked lines changed."""
    text = (CLUSTERS / "aws.yaml").read_text()
    text = text.replace("s3://BUCKET", "s3://mine").replace("ImageId: AMI", f"ImageId: {image}")
    (folder / "aws.yaml").write_text(text)
    return folder / "aws.yaml"


def started(text):
    """Let Ray start one machine of every type of a cluster file.

    Returns:
        By type: what Ray asked AWS for, and the machine that came.
    """
    from ray.autoscaler._private.aws import config as bootstrap
    from ray.autoscaler._private.aws import utils
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.commands import _bootstrap_config

    for cached in (utils.resource_cache, utils.client_cache, bootstrap._get_subnets_or_die):
        cached.cache_clear()  # they know another mock, which is gone
    config = _bootstrap_config(yaml.safe_load(text), no_config_cache=True)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    asked = []
    events = provider.ec2_fail_fast.meta.client.meta.events
    events.register(
        "provide-client-params.ec2.RunInstances", lambda params, **_: asked.append(dict(params))
    )
    for name, kind in config["available_node_types"].items():
        tags = {"ray-node-type": "worker", "ray-user-node-type": name}
        provider.create_node(kind["node_config"], tags, 1)
    machines = {}
    for reservation in boto3.client("ec2").describe_instances()["Reservations"]:
        for machine in reservation["Instances"]:
            tags = {tag["Key"]: tag["Value"] for tag in machine["Tags"]}
            machines[tags["ray-user-node-type"]] = machine | {"tags": tags}
    names = config["available_node_types"]
    return {name: (asks, machines[name]) for name, asks in zip(names, asked, strict=True)}
