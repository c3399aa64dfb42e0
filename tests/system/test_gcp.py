"""The shipped file for Google Cloud: what Ray would ask Google for, and what doctor says.

Google's API is played by a function: it answers from memory, and nothing leaves this process.
"""

import json
import re
import shlex
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httplib2
import pytest
import yaml
from googleapiclient.errors import HttpError

from neft_ray.config.cluster import load_cluster
from neft_ray.launch import gcp as checks
from neft_ray.launch.cluster_checks import file_findings
from neft_ray.launch.doctor import examine
from neft_ray.launch.ssh import Head

CLUSTERS = Path(__file__).parents[2] / "clusters"
SHIPPED = CLUSTERS / "gcp.yaml"
SCRIPT = CLUSTERS / "gcp-project.sh"
ADDRESS = "203.0.113.7/32"
TOKEN = {"type": "credentials_token", "credentials": "none"}
"""How to log in, for Ray: as long as it does not expire nobody is asked."""
NETWORK = "https://www.googleapis.com/compute/v1/projects/mine/global/networks/neft-ray"
SSH = {
    "name": "ssh",
    "network": NETWORK,
    "direction": "INGRESS",
    "sourceRanges": [ADDRESS],
    "allowed": [{"IPProtocol": "tcp", "ports": ["22"]}],
    "targetTags": ["neft-ray"],
}


class Google:
    """Google's API, as far as Ray and doctor ask it."""

    def __init__(self):
        self.rules, self.machines, self.asked = [SSH], {}, []

    def request(self, http, uri, method="GET", body=None, headers=None, **options):
        """Answer in place of `httplib2.Http.request`."""
        self.asked.append(f"{method} {uri.partition('?')[0]}")
        path = urlsplit(uri).path.removeprefix("/")
        if path.endswith("/instances") and method == "GET":
            status, answer = 200, {"items": self.running(parse_qs(urlsplit(uri).query))}
        else:
            status, answer = self.answer(method, path, json.loads(body) if body else None)
        return httplib2.Response({"status": status}), json.dumps(answer).encode()

    def running(self, query):
        """Return the machines with the labels that are asked for."""
        wanted = re.findall(r"labels\.([\w-]+) = ([^)]+)", query["filter"][0])
        address = [{"networkIP": "10.0.0.2", "accessConfigs": [{"natIP": "203.0.113.99"}]}]
        return [
            body | {"status": "RUNNING", "networkInterfaces": address}
            for body in self.machines.values()
            if all(body["labels"].get(key) == value for key, value in wanted)
        ]

    def answer(self, method, path, body):
        operation = {"name": "done", "status": "DONE", "done": True}
        if method == "POST" and path.endswith("/instances"):
            self.machines[body["name"]] = body
            return 200, operation
        if path.endswith("/firewalls"):
            return 200, {"items": self.rules}
        if path.endswith("/networks/other"):
            return 404, {"error": {"message": "The resource other was not found"}}
        if path.endswith(":getIamPolicy"):
            return 200, {"bindings": []}
        if "/serviceAccounts/" in path:
            return 200, {"email": path.rpartition("/")[2], "projectId": "mine"}
        if path.endswith("projects/mine") and "compute" not in path:
            return 200, {"projectId": "mine", "lifecycleState": "ACTIVE"}
        if path.endswith("projects/mine"):
            return 200, {"name": "mine", "commonInstanceMetadata": {}}
        return 200, operation


@pytest.fixture(autouse=True)
def google(monkeypatch, tmp_path):
    """Yield what answers in place of Google, to somebody who is logged in."""
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray leaves its key there
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # and here what it has asked once
    login = {"type": "authorized_user", "client_id": "", "client_secret": "", "refresh_token": ""}
    (tmp_path / "login.json").write_text(json.dumps(login))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "login.json"))
    monkeypatch.setattr(
        "google.oauth2.credentials.Credentials.refresh",
        lambda credentials, _: setattr(credentials, "token", "fresh"),
    )
    played = Google()
    monkeypatch.setattr(
        httplib2.Http, "request", lambda http, *args, **kw: played.request(http, *args, **kw)
    )
    return played


@pytest.fixture
def filled(tmp_path):
    """The shipped file with its marked lines changed."""
    text = SHIPPED.read_text().replace("PROJECT", "mine").replace("BUCKET", "mine")
    (tmp_path / "gcp.yaml").write_text(text)
    return tmp_path / "gcp.yaml"


def up(file, google):
    """Let Ray make one machine of every type; return what Google was asked for, by type."""
    from ray.autoscaler._private.commands import _bootstrap_config
    from ray.autoscaler._private.gcp.node_provider import GCPNodeProvider

    values = yaml.safe_load(file.read_text())
    values["provider"]["gcp_credentials"] = TOKEN
    config = _bootstrap_config(values, no_config_cache=True)
    provider = GCPNodeProvider(config["provider"], config["cluster_name"])
    for name, kind in config["available_node_types"].items():
        is_head = name == config["head_node_type"]
        tags = {
            "ray-node-name": "ray-neft-ray-x",
            "ray-node-type": "head" if is_head else "worker",
            "ray-user-node-type": name,
            "ray-node-status": "up-to-date",
        }
        # As Ray does it: of the head, its own account goes below what the file says
        own = config["head_node"] if is_head else {}
        provider.create_node({**own, **kind["node_config"]}, tags, 1)
    return {body["labels"]["ray-user-node-type"]: body for body in google.machines.values()}


def told(file):
    cluster = load_cluster(file)
    findings = [*file_findings(cluster), *checks.key_findings(cluster)]
    findings += checks.account_findings(cluster)
    return [str(problem).removeprefix(f"{file}:") for problem in cluster.places.problems(findings)]


def changed(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    return file


def test_rays_own_checks_take_the_file():
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(yaml.safe_load(SHIPPED.read_text()))
    validate_config(prepared)
    kinds = prepared["available_node_types"]
    assert {kind["min_workers"] for kind in kinds.values()} == {0}
    assert kinds["head"]["max_workers"] == 0


def test_machines_are_what_the_file_says(filled, google):
    machines = up(filled, google)
    kinds = {
        name: (
            body["machineType"].rpartition("/")[2],
            body.get("scheduling", {}).get("provisioningModel"),
        )
        for name, body in machines.items()
    }
    assert kinds == {
        "head": ("n2-standard-4", None),
        "g2_spot": ("g2-standard-48", "SPOT"),
        "g2": ("g2-standard-48", None),
        "a2_spot": ("a2-ultragpu-8g", "SPOT"),
        "a3_spot": ("a3-highgpu-8g", "SPOT"),
    }
    for name, body in machines.items():
        assert body["labels"]["budget"] == "neft-ray"
        assert all(body["shieldedInstanceConfig"].values())
        role = "head" if name == "head" else "worker"
        (account,) = body["serviceAccounts"]
        assert account["email"] == f"neft-ray-{role}@mine.iam.gserviceaccount.com"
        (network,) = body["networkInterfaces"]
        assert network["network"] == "global/networks/neft-ray"
        assert body["tags"] == {"items": ["neft-ray"]}
        (disk,) = body["disks"]
        assert disk["autoDelete"]
        assert disk["initializeParams"]["diskType"].endswith("us-central1-a/diskTypes/pd-balanced")
        if name != "head":  # a machine with GPUs cannot move while it runs
            assert body["scheduling"]["onHostMaintenance"] == "TERMINATE"
            assert body["scheduling"]["automaticRestart"] is False
        if name.endswith("spot"):
            assert body["scheduling"]["instanceTerminationAction"] == "DELETE"


def test_spot_is_asked_for_first():
    kinds = yaml.safe_load(SHIPPED.read_text())["available_node_types"]
    assert kinds["g2_spot"]["priority"] > kinds["g2"]["priority"]
    assert kinds["g2_spot"]["resources"] == kinds["g2"]["resources"]


def test_what_ray_asks_for_is_what_google_takes(filled, google):
    from googleapiclient.discovery_cache import get_static_doc

    schemas = json.loads(get_static_doc("compute", "v1"))["schemas"]
    for name, body in up(filled, google).items():
        assert not list(checks._shape(body, {"$ref": "Instance"}, schemas, (name,)))


def test_the_head_is_found_and_logged_in_to_as_ray_does(filled, google):
    up(filled, google)
    (filled.parent / ".ssh").mkdir(exist_ok=True)
    changed(filled, "  type: gcp\n", f"  type: gcp\n  gcp_credentials: {json.dumps(TOKEN)}\n")
    head = Head.of(load_cluster(filled))
    assert (head.address, head.user) == ("203.0.113.99", "ubuntu")
    assert Path(head.key).is_file()


def test_a_file_that_is_filled_in_has_no_problem(filled, google):
    assert told(filled) == []
    assert {line.split()[0] for line in google.asked} == {"GET"}, "doctor changes nothing"


def test_doctor_looks_at_a_file_for_google(filled):
    found = [checked for checked in examine(load_cluster(changed(filled, "SPOT", "SPOOT")))]
    assert [checked.what for checked in found] == ["file", "this machine"]
    assert "'SPOOT' is none of Google's; did you mean 'SPOT'?" in str(found[0].problems[0])


def test_every_placeholder_of_the_shipped_file_is_told_with_its_line():
    lines = [line for line in told(SHIPPED) if "is a placeholder" in line]
    texts = SHIPPED.read_text().splitlines()
    numbers = {int(line.split(":")[0]) for line in lines}
    marked = [n for n, text in enumerate(texts, 1) if "PROJECT" in text or "BUCKET" in text]
    assert len(marked) == 4
    assert set(marked) <= numbers
    assert all(re.search(r"# \([13]\)", texts[number - 1]) for number in marked)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("machineType: n2", "machinType: n2", "machinType: unknown to Google; did you mean 'mach"),
        ("autoDelete:", "autoDelet:", "disks[0].autoDelet: unknown to Google; did you mean"),
        ("autoDelete: true", "autoDelete: yess", "autoDelete: 'yess' is not of type boolean"),
        ("nicType: GVNIC", "nicType: GNIC", "nicType: 'GNIC' is none of Google's; did you mean"),
        ("labels: {budget: neft-ray}", "labels: [budget]", "labels: ['budget'] is not keys and va"),
        ("tags: {items: [neft-ray]}", "tags: {items: neft-ray}", "items: 'neft-ray' is not a list"),
        ("labels:", "status: RUNNING\n      labels:", "status: is Google's to say; take it out"),
        (
            "zones/us-central1-a",
            "zones/us-east1-b",
            "is not in the zone of `provider`, us-central1",
        ),
        ("  region: us-central1 ", "  # none", "provider.region: missing"),
        ("networks/neft-ray", "networks/other", "no network 'other': The resource other was not"),
        ("networks/neft-ray", "networks/Other", "no network 'Other': Parameter \"network\" value"),
        ("project_id: mine", "project_id: My_Own", 'let you in: Parameter "project" value "My_O'),
    ],
)
def test_what_is_wrong_is_told_before_a_machine_is_paid_for(filled, old, new, text):
    lines = told(changed(filled, old, new))
    assert any(text in line for line in lines), lines
    assert all(line.split(":")[0].isdigit() for line in lines)


def test_without_a_network_in_the_file_the_worlds_way_in_is_told(filled):
    values = yaml.safe_load(filled.read_text())
    del values["available_node_types"]["g2"]["node_config"]["networkInterfaces"]
    filled.write_text(yaml.safe_dump(values))
    (line,) = told(filled)
    assert "g2.node_config.networkInterfaces: Ray takes the region's first network" in line


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({"sourceRanges": ["0.0.0.0/0"]}, ["rule ssh lets the whole world in"]),
        (
            {"sourceRanges": ["1.2.3.4/32"], "allowed": [{"IPProtocol": "tcp"}]},
            ["rule ssh opens more than ssh to ['1.2.3.4/32']"],
        ),
        ({"sourceRanges": ["10.0.0.0/8"], "allowed": [{"IPProtocol": "all"}]}, []),
        ({"sourceRanges": ["0.0.0.0/0"], "targetTags": ["web"]}, []),
        ({"sourceRanges": ["0.0.0.0/0"], "disabled": True}, []),
        ({"sourceRanges": ["0.0.0.0/0"], "network": f"{NETWORK}-2"}, []),
    ],
)
def test_a_firewall_that_opens_more_is_told(filled, google, changes, texts):
    google.rules = [SSH | changes]
    lines = told(filled)
    assert len(lines) == len(texts)
    assert all(text in line for text, line in zip(texts, lines, strict=True)), lines


def test_without_a_login_that_is_the_only_thing_told(filled, monkeypatch):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(filled.parent / "none"))
    (line,) = told(filled)
    assert "provider: Google does not let you in: Your default credentials were not found" in line


def test_a_project_that_is_not_yours_is_told(filled, google, monkeypatch):
    denied = {"error": {"message": "Required 'compute.firewalls.list' permission"}}
    monkeypatch.setattr(google, "answer", lambda *_: (403, denied))
    (line,) = told(filled)
    assert "Google does not let you in" in line
    assert "Required 'compute.firewalls.list' permission" in line
    assert HttpError.__name__ in line


def test_without_googles_library_that_is_told(filled, monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    (finding,) = checks.key_findings(load_cluster(filled))
    assert "pip install 'neft-ray[gcp]'" in finding.remedy


@pytest.fixture
def gcloud(tmp_path, monkeypatch):
    """Put a `gcloud` in the way that writes down what it is asked; return the file."""
    kept = tmp_path / "asked"
    tool = tmp_path / "bin/gcloud"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {kept}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    return kept


def set_up(address=ADDRESS):
    command = ["bash", str(SCRIPT), "mine", "us-central1", "bucket", address]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_script_makes_what_the_file_names_and_opens_ssh_to_one_address(gcloud):
    assert set_up().returncode == 0
    asked = [shlex.split(line) for line in gcloud.read_text().splitlines()]
    assert all("--project=mine" in words for words in asked)
    opened = [words for words in asked if "firewall-rules" in words]
    assert [next(w for w in words if "source" in w) for words in opened] == [
        f"--source-ranges={ADDRESS}",
        "--source-tags=neft-ray",
    ]
    assert "--allow=tcp:22" in opened[0]
    made = {words[words.index("create") + 1] for words in asked if "create" in words}
    assert {"neft-ray", "neft-ray-head", "neft-ray-worker", "gs://bucket"} <= made


def test_the_accounts_get_the_bucket_and_the_head_alone_makes_machines(gcloud):
    set_up()
    granted = set()
    for line in gcloud.read_text().splitlines():
        if "add-iam-policy-binding" in line:
            of, _, rest = line.partition(" add-iam-policy-binding ")
            options = dict(re.findall(r"--(\w+)=(\S+)", rest))
            member = options["member"].removeprefix("serviceAccount:").partition("@")[0]
            granted.add((of.split()[2:][-1], rest.split()[0], member, options["role"]))
    worker = "neft-ray-worker@mine.iam.gserviceaccount.com"
    both = ("roles/storage.objectUser", "roles/storage.legacyBucketReader")
    assert granted == {
        *(("buckets", "gs://bucket", "neft-ray-head", role) for role in both),
        *(("buckets", "gs://bucket", "neft-ray-worker", role) for role in both),
        ("projects", "mine", "neft-ray-head", "roles/compute.instanceAdmin.v1"),
        ("service-accounts", worker, "neft-ray-head", "roles/iam.serviceAccountUser"),
    }


@pytest.mark.parametrize("address", ["0.0.0.0/0", "203.0.113.7", "everybody"])
def test_the_script_refuses_to_open_ssh_to_everybody(gcloud, address):
    done = set_up(address)
    assert done.returncode == 2
    assert "name the only addresses that may log in" in done.stderr
    assert not gcloud.exists()
