"""The script that sets up a project of Google's: what it asks of `gcloud`, which only notes it."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "clusters/gcp-project.sh"
ADDRESS = "203.0.113.7/32"


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
