"""What the doctor says of a cluster file and of what machines answer, without any machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from neft_ray.launch import aws, cluster_checks, doctor, gcp, probe
from neft_ray.launch.ssh import Head
from tests.unit.cluster_files import changed
from tests.unit.cluster_files import told as told_of

SHIPPED = Path(__file__).parents[2] / "clusters/onprem.yaml"


@pytest.fixture
def filled(tmp_path, monkeypatch):
    """The shipped file with the placeholders filled in, and the key and token it names."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (".ssh/id_ed25519", ".ray/auth_token"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("secret")
        (tmp_path / name).chmod(0o600)
    text = SHIPPED.read_text()
    for word in ("HEAD_ADDRESS", "WORKER_ADDRESS", "USER"):
        text = text.replace(word, "10.0.0.1" if "ADDRESS" in word else "me")
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    return file


def told(file):
    return told_of(file, cluster_checks.file_findings, cluster_checks.findings_here)


def line_of(file, text):
    return next(n for n, line in enumerate(file.read_text().splitlines(), 1) if text in line)


def test_a_file_that_is_filled_in_has_no_problem(filled):
    assert told(filled) == []


def test_every_placeholder_of_the_shipped_file_is_told_with_its_line(filled):
    filled.write_text(SHIPPED.read_text())
    places = [line.split(":")[1].strip() for line in told(filled) if "placeholder" in line]
    assert places == ["provider.head_ip", "provider.worker_ips[0]", "auth.ssh_user"]


def test_a_key_that_ray_does_not_know_is_told_with_its_line(filled):
    changed(filled, "setup_commands:", "setup_comands:")
    number = line_of(filled, "setup_comands")
    assert told(filled) == [f"{number}: setup_comands: unknown key; did you mean 'setup_commands'?"]


def test_a_value_that_ray_does_not_take_is_told(filled):
    changed(filled, "setup_commands:", "idle_timeout_minutes: soon\nsetup_commands:")
    (line,) = told(filled)
    assert "idle_timeout_minutes: 'soon' is not of type 'number'" in line


def test_a_missing_key_token_or_tool_is_told(filled, monkeypatch):
    home = filled.parent
    (home / ".ssh/id_ed25519").unlink()
    (home / ".ray/auth_token").unlink()
    monkeypatch.setenv("PATH", str(home))
    lines = "\n".join(told(filled))
    assert "auth.ssh_private_key: ~/.ssh/id_ed25519 does not exist" in lines
    assert "run `ray get-auth-token --generate`" in lines
    assert "ssh is not installed here" in lines
    assert "rsync is not installed here" in lines


def test_a_token_that_others_can_read_is_told(filled):
    (filled.parent / ".ray/auth_token").chmod(0o640)
    (line,) = told(filled)
    assert "~/.ray/auth_token can be read by others on this machine; chmod 600" in line


CLOUD_FILES = {"aws": aws.key_findings, "gcp": gcp.key_findings}


@pytest.mark.parametrize("cloud", CLOUD_FILES)
@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("_spot: &", "_spot:\n  another: &", "_spot: None is not of type 'object'"),
        (" node_config: &", " node_config:\n    node_confg: &", "node_config: None is not of type"),
        ("available_node_types:", "available_node_type:", "available_node_types: missing; see"),
    ],
)
def test_a_cloud_file_of_another_shape_is_told_and_not_stumbled_over(
    tmp_path, cloud, old, new, text
):
    file = tmp_path / "cluster.yaml"
    file.write_text(SHIPPED.with_name(f"{cloud}.yaml").read_text())
    lines = told_of(changed(file, old, new), cluster_checks.file_findings, CLOUD_FILES[cloud])
    assert any(text in line for line in lines), lines


def test_mounts_that_are_no_section_are_told(filled):
    changed(filled, "  ~/.ray/auth_token: ~/.ray/auth_token", "  [~/.ray/auth_token]")
    (line,) = told(filled)
    assert "file_mounts: ['~/.ray/auth_token'] is not of type 'object'" in line


def test_a_profile_that_aws_does_not_know_is_no_login(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobodys")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    file = SHIPPED.with_name("aws.yaml")
    assert all("placeholder" in line for line in told_of(file, cluster_checks.file_findings))
    assert told_of(file, aws.key_findings) == []
    (line,) = told_of(file, aws.account_findings)
    assert "AWS does not let you in: The config profile (nobodys) could not be found" in line


def test_a_region_that_is_missing_is_told(tmp_path):
    file = tmp_path / "aws.yaml"
    file.write_text(SHIPPED.with_name("aws.yaml").read_text())
    changed(file, "  region: us-east-1", "  # region: us-east-1")
    (line,) = told_of(file, aws.key_findings)
    assert "provider.region: missing; Ray needs it for AWS" in line


def test_without_amazons_library_that_is_told(monkeypatch):
    monkeypatch.setattr(aws, "find_spec", lambda name: None)
    (line,) = told_of(SHIPPED.with_name("aws.yaml"), aws.key_findings)
    assert "provider.type: needs boto3; pip install 'neft-ray[s3]'" in line


def test_a_driver_that_complains_on_its_output_is_told(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho NVIDIA-SMI has failed:\necho no driver\nexit 9\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    gpus = probe.probe("", "")["gpus"]
    assert gpus == ["broken: NVIDIA-SMI has failed: no driver"]
    assert "×" not in doctor._described(answer(gpus=gpus))


def answer(**changes):
    found = probe.probe("", "")
    return found | {"skew": 0.0, "own_address": "10.0.0.1", "free_bytes": 10**12} | changes


def ailments(**changes):
    ours = probe.probe("", "")
    return [str(p) for p in doctor._ailments(Head("10.0.0.1", "me"), answer(**changes), ours)]


def test_a_machine_like_this_one_is_sound():
    assert ailments() == []
    assert "ray 2." in doctor._described(answer())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"python": "3.9"}, "runs Python 3.9, this machine 3."),
        ({"versions": {"ray": "2.9", "neft-ray": None, "torch": "2"}}, "has ray 2.9, this machine"),
        ({"free_bytes": 10**9}, "has 1 GB free; free 20 GB"),
        ({"skew": 60.0}, "its clock is 60 s off"),
        ({"own_address": "127.0.1.1"}, "its own name stands for 127.0.1.1"),
        ({"own_address": None}, "its own name stands for nothing"),
        ({"gpus": ["broken: no devices"]}, "NVIDIA's driver is broken: no devices"),
        ({"storage": "Permission denied"}, "storage: Permission denied"),
    ],
)
def test_what_is_wrong_with_a_machine_is_told(changes, text):
    (line,) = ailments(**changes)
    assert line.startswith("10.0.0.1: ")
    assert text in line


@pytest.mark.parametrize(
    ("versions", "state", "texts"),
    [
        (["2.27.3", "2.27.3"], "fine", []),
        (["2.27.3", "2.26.2"], "fine", ["10.0.0.1: has NCCL 2.27.3, another machine 2.26.2"]),
        (["2.27.3", None], "fine", ["10.0.0.2: has NCCL none, another machine 2.27.3"]),
        ([None, None], "unknown", []),
    ],
)
def test_machines_with_gpus_have_one_nccl(versions, state, texts):
    answers = {
        f"10.0.0.{number}": answer(gpus=["570.1, NVIDIA H100"], nccl=version)
        for number, version in enumerate(versions, 1)
    }
    (checked,) = doctor.nccl_of(answers | {"10.0.0.9": answer(nccl="2.0.0")})
    assert checked.is_fine == (state == "fine") and len(checked.problems) == len(texts)
    assert all(str(p).startswith(t) for p, t in zip(checked.problems, texts, strict=True))
    assert not list(doctor.nccl_of({"10.0.0.9": answer(nccl="2.0.0")})), "no GPU, nothing to say"


def test_the_nccl_that_is_installed_is_found(tmp_path, monkeypatch):
    info = tmp_path / "nvidia_nccl_cu13-2.27.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: nvidia-nccl-cu13\nVersion: 2.27.3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert probe.probe("", "")["nccl"] == "2.27.3"


def test_the_probe_needs_nothing_but_python(tmp_path):
    script = Path(probe.__file__).read_text()
    command = [sys.executable, "-I", "-S", "-", str(tmp_path / "new"), ".mark"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["cores"] >= 1 and found["nccl"] is None
    assert found["storage"] == ""
    assert (tmp_path / "new/.mark").read_text()
    assert (
        "Permission" in probe.probe("/proc/none", ".mark")["storage"]
        or "No such" in (probe.probe("/proc/none", ".mark")["storage"])
    )
