"""Cluster files: what is read, and what is said of one that cannot be used."""

from pathlib import Path

import pytest

from neft_ray.config.cluster import load_cluster
from neft_ray.errors import UserError

SHIPPED = Path(__file__).parents[2] / "clusters"
FILE = """\
cluster_name: ours
provider: {type: local, head_ip: 10.0.0.1, worker_ips: [10.0.0.2]}
auth: {ssh_user: me}
metadata:
  neft_ray:
    storage: /shared
    mlflow: {port: 5001}
"""


def problems(tmp_path, text):
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        load_cluster(file)
    return [str(problem).removeprefix(f"{file}:") for problem in caught.value.problems]


def test_a_cluster_file_tells_where_runs_lie_and_how_mlflow_is_served(tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text(FILE)
    cluster = load_cluster(file)
    assert (cluster.name, cluster.settings.storage) == ("ours", "/shared")
    assert cluster.settings.mlflow.port == 5001
    assert cluster.settings.mlflow.database == "sqlite"
    assert cluster.provider["head_ip"] == "10.0.0.1"
    assert cluster.auth == {"ssh_user": "me"}


def test_mlflow_can_be_elsewhere(tmp_path):
    file = tmp_path / "cluster.yaml"
    file.write_text(FILE.replace("{port: 5001}", "null"))
    assert load_cluster(file).settings.mlflow is None


@pytest.mark.parametrize("storage", ["/shared", "s3://bucket/folder", "gs://bucket"])
def test_storage_is_a_whole_path_or_a_bucket(tmp_path, storage):
    file = tmp_path / "cluster.yaml"
    file.write_text(FILE.replace("/shared", storage))
    assert load_cluster(file).settings.storage == storage


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("/shared", "runs", "6: metadata.neft_ray.storage: 'runs' is neither a whole path"),
        ("/shared", "ftp://x/y", "6: metadata.neft_ray.storage: 'ftp://x/y' is neither"),
        ("storage:", "store:", "6: metadata.neft_ray.store: unknown key; did you mean 'storage'?"),
        ("port:", "prt:", "7: metadata.neft_ray.mlflow.prt: unknown key; did you mean 'port'?"),
        ("5001", "80", "7: metadata.neft_ray.mlflow.port: got 80; write a whole number at least"),
        ("metadata:", "meta:", "1: metadata.neft_ray: missing; add `metadata:"),
        ("cluster_name: ours\n", "", "1: cluster_name: missing"),
        ("head_ip: 10.0.0.1, ", "", "2: provider.head_ip: missing; see clusters/onprem.yaml"),
        ("[10.0.0.2]", "", "2: provider.worker_ips: missing; see clusters/onprem.yaml"),
        ("type: local, ", "", "2: provider.type: missing; write aws, gcp or local"),
        ("{type: local, head_ip: 10.0.0.1, worker_ips: [10.0.0.2]}", "", "2: provider: missing"),
        ("{ssh_user: me}", "me", "3: auth: no section; write `auth: {ssh_user: …}`"),
        ("ours", "2026-99-99", " no cluster file (month must be in 1..12)"),
        ("auth: {", "auth: [", "3: not YAML"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path, old, new, told):
    assert any(line.startswith(told) for line in problems(tmp_path, FILE.replace(old, new)))


def test_a_text_or_a_missing_file_is_no_cluster_file(tmp_path):
    assert problems(tmp_path, "hello") == ["1: no cluster file; see clusters/README.md"]
    with pytest.raises(UserError, match="name a cluster file that exists"):
        load_cluster(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", ["aws", "onprem"])
def test_a_shipped_cluster_file_has_our_section(name):
    assert load_cluster(SHIPPED / f"{name}.yaml").settings.mlflow is not None


def test_what_keys_merge_is_read_as_ray_reads_it():
    types = load_cluster(SHIPPED / "aws.yaml").values["available_node_types"]
    assert types["g5"]["resources"] == types["g5_spot"]["resources"] == {"CPU": 48, "GPU": 4}
    assert "InstanceMarketOptions" not in types["g5"]["node_config"]


def test_another_kind_of_yaml_is_no_cluster_file():
    with pytest.raises(UserError, match=r"aws-account.yaml: no cluster file \("):
        load_cluster(SHIPPED / "aws-account.yaml")
