"""A sweep across hosts that share nothing but a bucket and a hub, neither of them always well."""

import shutil

import pytest

from tests.cluster.hosts import Hosts, why_not
from tests.cluster.hub import MODEL
from tests.cluster.onprem import Cluster
from tests.cluster.waiting import submitted, table, wait_for_report, wait_until
from tests.unit.bucket_server import NAME

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
    pytest.mark.timeout(900),
]
PORT, HUB_PORT = 9000, 9001
TOKEN = "hf_nobody_else_may_see_this"
PATTERN = "'hf_nobody[_]else_may_see'"
"""Finds the token, and not the search for it."""
FAULTS = "17 61 29"
"""Every so-many-th answer is an error, two seconds late, cut off."""
SHORT = {"model": {"path": MODEL}, "sweep": {"space": {"noise.alpha": {"choice": [5]}}}}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster without a shared folder: a laptop, three machines, and a store."""
    folder = tmp_path_factory.mktemp("lab")
    hosts = Hosts(folder / "hosts", 5)
    store = hosts.all[4]
    hosts.environment |= {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{store.address}:{PORT}",
        "HF_ENDPOINT": f"http://{store.address}:{HUB_PORT}",
    }
    with hosts:
        serve_hub = f"python -m tests.cluster.hub 0.0.0.0 {HUB_PORT} {TOKEN}"
        store.start_command(serve_hub, folder / "hub.log")
        serve = f"python -m tests.unit.bucket_server 0.0.0.0 {PORT}"
        store.start_command(f"{serve} {FAULTS}", folder / "store.log")
        make = f"import boto3; boto3.client('s3').create_bucket(Bucket='{NAME}')"
        wait_until(lambda: store.run(f'python -c "{make}"', check=False).returncode == 0)
        cluster = Cluster(hosts, f"s3://{NAME}/team/runs")
        (cluster.home / ".cache/huggingface").mkdir(parents=True)
        (cluster.home / ".cache/huggingface/token").write_text(TOKEN)
        cluster.typed("ray up --yes onprem.yaml")
        yield cluster


@pytest.fixture(scope="module")
def quiet(cluster):
    """The name of a sweep that nothing but the store disturbed."""
    file = cluster.sweep_file(**SHORT)
    done = cluster.neft_ray("submit", file, "--cluster", "onprem.yaml", "--follow")
    assert "report " in done.stdout
    return submitted(done)


def in_bucket(cluster, name):
    """Return the size of every object of a run by name."""
    code = f"from neft_ray.bucket import Bucket; print(Bucket('{cluster.storage}/{name}').sizes())"
    return eval(cluster.head.run(f'python -c "{code}"').stdout)


def test_a_run_is_whole_in_the_bucket(cluster, quiet):
    there = in_bucket(cluster, quiet)
    here = cluster.run_folder(quiet)
    for name in (
        "sweep.yaml",
        "manifest.json",
        "report/index.html",
        "best_model/config.json",
        "trials/t000/metrics.jsonl",
        "trials/t000/log-1.txt",
    ):
        assert there[name] == (here / name).stat().st_size, name
    pieces = {name: size for name, size in there.items() if name.startswith("journal.jsonl/")}
    assert sum(pieces.values()) == (here / "journal.jsonl").stat().st_size
    steps = {name.rsplit("/", 1)[0] for name in there if "/checkpoints/" in name}
    assert steps and all(f"{step}/state.json" in there for step in steps)
    assert "owner.json" not in there


def test_a_gated_model_was_loaded_and_its_token_is_nowhere(cluster, quiet):
    config = (cluster.run_folder(quiet) / "sweep.yaml").read_text()
    assert MODEL in config
    for host in cluster.everyone():
        files = "/root /tmp --exclude-dir=.pyenv"
        found = host.run(f"grep -rlae {PATTERN} {files} || true").stdout
        assert found == "", f"{host.name}: {found}"


def test_the_run_comes_home_from_a_bucket(cluster, quiet):
    cluster.neft_ray("fetch", quiet, "--cluster", "onprem.yaml")
    assert (cluster.home / "runs" / quiet / "report/index.html").exists()


def test_a_worker_and_then_the_head_are_lost_and_a_new_head_goes_on(cluster, quiet):
    expected = table(cluster, quiet)
    file = cluster.sweep_file(**SHORT)
    name = submitted(cluster.neft_ray("submit", file, "--cluster", "onprem.yaml"))
    wait_for_report(cluster, name, 0)
    for host in cluster.everyone():
        found = host.run(f"grep -lae {PATTERN} /proc/[0-9]*/cmdline || true").stdout
        assert found == "", f"{host.name}: {found}"
    worker = cluster.one_that_trains()
    worker.kill()
    wait_for_report(cluster, name, 0, at_least=3)  # on the machines that are left
    cluster.head.kill()
    worker.restart()
    for lost in (".neft_ray/storage", ".cache"):
        shutil.rmtree(cluster.head.folder / "root" / lost, ignore_errors=True)
    cluster.head.restart()
    cluster.typed("ray up --yes onprem.yaml")
    done = cluster.neft_ray("submit", "--resume", name, "--cluster", "onprem.yaml", "--follow")
    assert "report " in done.stdout
    assert table(cluster, name) == expected
