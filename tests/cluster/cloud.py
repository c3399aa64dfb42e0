"""A mock of AWS whose machines are throw-away hosts: one boots when it is asked for, and is gone
with all its files when it is terminated."""

import ctypes
import json
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3

from tests.cluster.boot import REPOSITORY
from tests.cluster.host import Host
from tests.cluster.hosts import Hosts
from tests.cluster.metadata import ADDRESS
from tests.cluster.waiting import wait_until

PORT = 9000
REGION = "us-east-1"
ZONE = f"{REGION}a"
BUCKET = "mine"
CLONE_NEWNET = 0x40000000
NOTICE = "run/notice.json"
POLL_SECONDS = 0.5


class Cloud:
    """Has an account with the shipped stack in it; `with` ends what it has started."""

    def __init__(self, hosts: Hosts) -> None:
        """Serve on the first host, which is the user's laptop; all that are off are machines."""
        self.hosts = hosts
        self.url = f"http://{hosts.all[0].address}:{PORT}"
        hosts.environment |= {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
        }
        self._is_over = threading.Event()
        self._up: dict[str, str] = {}
        """Addresses of machines that were booted, by their name at AWS."""

    def __enter__(self) -> "Cloud":
        laptop = self.hosts.all[0]
        serve = f"python -m tests.unit.bucket_server 0.0.0.0 {PORT}"
        laptop.start_command(serve, self.hosts.base / "cloud.log")
        self._inside = ThreadPoolExecutor(1, initializer=_enter_network, initargs=(laptop,))
        wait_until(lambda: self._answers())
        self.image = self.ec2.describe_images()["Images"][0]["ImageId"]
        self._open_account()
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._inside.shutdown()
        assert not self._errors, self._errors

    @property
    def ec2(self) -> "Client":
        """A client of the machines' service, which lives in the laptop's network."""
        return Client(self, "ec2")

    def machines(self) -> dict[str, dict]:
        """Return what runs, by name."""
        found = self.ec2.describe_instances()["Reservations"]
        all_of_them = [machine for entry in found for machine in entry["Instances"]]
        return {m["InstanceId"]: m for m in all_of_them if m["State"]["Name"] == "running"}

    def host(self, name: str) -> Host:
        """Return the host that a machine is."""
        address = self._up[name]
        return next(host for host in self.hosts.all if host.address == address)

    def call_back(self, name: str, seconds: float) -> None:
        """Give a spot machine notice; whoever calls this takes it away in time."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        notice = {"action": "terminate", "time": at}
        (self.host(name).folder / NOTICE).write_text(json.dumps(notice))

    def terminate(self, name: str) -> None:
        """Take a machine away."""
        self.ec2.terminate_instances(InstanceIds=[name])

    def ask(self, service: str, call: str, given: dict) -> dict:
        """Call a service from the laptop's network."""

        def answer():
            client = boto3.client(
                service,
                REGION,
                endpoint_url=self.url,
                aws_access_key_id="test",
                aws_secret_access_key="test",
            )
            return getattr(client, call)(**given)

        return self._inside.submit(answer).result()

    def _answers(self) -> bool:
        try:
            self.ask("ec2", "describe_vpcs", {})
        except Exception:  # not up yet; whoever waits gives up in time
            return False
        return True

    def _open_account(self) -> None:
        """Make a network whose addresses are the hosts', and what the shipped stack makes."""
        net = self.hosts.net
        vpc = self.ec2.create_vpc(CidrBlock=f"{net}.0/24")["Vpc"]["VpcId"]
        # Three addresses are AWS' own: the first machine is the second host
        subnet = {"VpcId": vpc, "CidrBlock": f"{net}.16/28", "AvailabilityZone": ZONE}
        self.subnet = self.ec2.create_subnet(**subnet)["Subnet"]["SubnetId"]
        given = {"Vpc": vpc, "Address": f"{net}.19/32", "Bucket": BUCKET}
        Client(self, "cloudformation").create_stack(
            StackName="neft-ray",
            TemplateBody=(REPOSITORY / "clusters/aws-account.yaml").read_text(),
            Capabilities=["CAPABILITY_NAMED_IAM"],
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()],
        )

    def _follow(self) -> None:
        """Boot what was asked for and end what was terminated, as long as the cloud is there."""
        try:
            while not self._is_over.wait(POLL_SECONDS):
                running = self.machines()
                for name in set(self._up) - set(running):
                    host = self.host(name)
                    host.down()
                    shutil.rmtree(host.folder)
                    del self._up[name]
                for name in set(running) - set(self._up):
                    self._boot(name, running[name]["PrivateIpAddress"])
        except BaseException as error:  # raised again where the test ends
            self._errors.append(error)

    def _boot(self, name: str, address: str) -> None:
        self._up[name] = address
        host = self.host(name)
        host.start()
        (pair,) = self.ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
        with (host.folder / "root/.ssh/authorized_keys").open("a") as file:
            file.write(pair["PublicKey"] + "\n")
        host.wait()
        serve = f"python -m tests.cluster.metadata /{NOTICE}"
        host.run(f"ip addr add {ADDRESS}/32 dev lo")
        host.start_command(serve, host.folder / "metadata.log")


class Client:
    """Calls one service; its methods are those of boto3's client."""

    def __init__(self, cloud: Cloud, service: str) -> None:
        self._cloud, self._service = cloud, service

    def __getattr__(self, call: str):
        return lambda **given: self._cloud.ask(self._service, call, given)


def _enter_network(host: Host) -> None:
    """Let this thread, and no other, be on the network that a host is on."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{host.first().pid}/ns/net").open() as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
