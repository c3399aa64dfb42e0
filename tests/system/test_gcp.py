"""The shipped file for Google Cloud: what Ray would ask of a played Google, what doctor says."""

import json
import re
import tempfile
from pathlib import Path

import httplib2
import pytest
import yaml

from neft_ray.config.cluster import load_cluster
from neft_ray.launch import gcp as checks
from neft_ray.launch.cluster_checks import file_findings
from neft_ray.launch.doctor import examine
from neft_ray.launch.ssh import Head
from tests.system.google_api import NETWORK, SSH, TOKEN, Google
from tests.unit.cluster_files import changed
from tests.unit.cluster_files import told as told_of

SHIPPED = Path(__file__).parents[2] / "clusters/gcp.yaml"


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
    return told_of(file, file_findings, checks.key_findings, checks.account_findings)


def test_rays_own_checks_take_the_file():
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(yaml.safe_load(SHIPPED.read_text()))
    validate_config(prepared)
    kinds = prepared["available_node_types"]
    assert {kind["min_workers"] for kind in kinds.values()} == {0}
    assert kinds["head"]["max_workers"] == 0


def test_machines_are_what_the_file_says(filled, google):
    machines = up(filled, google)
    kinds = {}
    for name, body in machines.items():
        model = body.get("scheduling", {}).get("provisioningModel")
        kinds[name] = body["machineType"].rpartition("/")[2], model
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
        scheduling = body.get("scheduling", {})
        if name != "head":  # a machine with GPUs cannot move while it runs
            assert scheduling["onHostMaintenance"] == "TERMINATE"
            assert scheduling["automaticRestart"] is False
        if name.endswith("spot"):
            assert scheduling["instanceTerminationAction"] == "DELETE"


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
    found = list(examine(load_cluster(changed(filled, "SPOT", "SPOOT"))))
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


def test_without_googles_library_that_is_told(filled, monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    (finding,) = checks.key_findings(load_cluster(filled))
    assert "pip install 'neft-ray[gcp]'" in finding.remedy
