"""The shipped file for machines of one's own, word by word, on throw-away hosts; what fails."""

import json

import pytest

from neft_ray.journal import COMPLETED
from tests.cluster.hosts import Hosts, why_not
from tests.cluster.onprem import Cluster
from tests.cluster.waiting import submitted, table, wait_for_report

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
    pytest.mark.timeout(900),
]

TO = ("--cluster", "onprem.yaml")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster that is up: three machines, and the laptop that made it."""
    with Hosts(tmp_path_factory.mktemp("lab") / "hosts", 4) as hosts:
        cluster = Cluster(hosts)
        cluster.typed("ray up --yes onprem.yaml")
        yield cluster


@pytest.fixture(scope="module")
def quiet(cluster):
    """The name of a sweep that nothing disturbed."""
    done = cluster.neft_ray("submit", cluster.sweep_file(), *TO, "--follow")
    assert "report " in done.stdout
    return submitted(done)


def test_a_sweep_runs_across_hosts(cluster, quiet):
    records = cluster.records(quiet)
    assert {record.status for record in records.values()} == {COMPLETED}
    assert len(records) == 3
    # The first worker of a second node keeps a file of its own
    folders = sorted(cluster.run_folder(quiet).glob("trials/t*"))
    assert all((folder / "metrics-1.jsonl").exists() for folder in folders)


def test_report_and_model_come_home(cluster, quiet):
    cluster.neft_ray("fetch", quiet, *TO)
    home = cluster.home / "runs" / quiet
    assert (home / "report/index.html").exists()
    assert json.loads((home / "best_model/neft_ray.json").read_text())["run"] == quiet
    assert not list(home.rglob("checkpoints"))
    answer = cluster.typed(f"echo 'Who lives there?' | neft-ray chat {quiet}")
    assert answer.stdout.strip()
    told = cluster.neft_ray("status", quiet, *TO).stdout
    assert "finished" in told
    assert told.count("completed") == 3


def test_every_trial_is_in_the_heads_mlflow_behind_its_password(cluster, quiet):
    uri = json.loads((cluster.head.folder / "root/.neft_ray/mlflow.json").read_text())["uri"]
    count = (
        "import mlflow; runs = mlflow.search_runs(search_all_experiments=True, "
        "output_format='list'); print('runs', sum(r.info.status == 'FINISHED' for r in runs))"
    )
    asked = f'MLFLOW_TRACKING_URI={uri} MLFLOW_HTTP_REQUEST_MAX_RETRIES=0 python -c "{count}"'
    assert "runs 4" in cluster.head.run(asked).stdout
    refused = cluster.laptop.run(asked, check=False)
    assert refused.returncode and "401" in refused.stderr


def test_bad_input_is_told_where_the_command_was_typed_and_nothing_is_left(cluster):
    (cluster.home / "bad.jsonl").write_text('{"instruction": "Who?"}\n')
    file = cluster.sweep_file(data={"train": "bad.jsonl"})
    done = cluster.neft_ray("submit", file, *TO, check=False)
    assert done.returncode == 2
    assert "error bad.jsonl: row 1: 'output' is missing" in done.stderr
    assert not cluster.run_folder(submitted(done)).exists()


def test_whatever_is_lost_on_the_way_the_table_is_that_of_a_quiet_sweep(cluster, quiet):
    name = submitted(cluster.neft_ray("submit", cluster.sweep_file(), *TO))
    wait_for_report(cluster, name, 0)
    first = cluster.one_that_trains()
    first.kill()  # a worker's machine loses power
    wait_for_report(cluster, name, 0, at_least=3)
    first.restart()
    cluster.head.run("kill -9 $(pgrep -f '[m]lflow server')")
    second = cluster.one_that_trains()
    second.cut()  # the link of another one
    wait_for_report(cluster, name, 1, at_least=2)
    second.mend()
    assert sum(record.num_crashes for record in cluster.records(name).values()) >= 2
    stopped = cluster.neft_ray("stop", name, *TO).stdout  # somebody stops it
    assert f"neft-ray submit --resume {name}" in stopped
    cluster.neft_ray("submit", "--resume", name, *TO)
    wait_for_report(cluster, name, 2)
    cluster.head.kill()
    cluster.head.restart()
    cluster.typed("ray up --yes onprem.yaml")
    again = cluster.neft_ray("submit", "--resume", name, *TO, "--follow")
    assert "report " in again.stdout
    assert table(cluster, name) == table(cluster, quiet)


def test_the_doctor_finds_nothing_wrong(cluster):
    told = cluster.neft_ray("doctor", "onprem.yaml").stdout
    assert told.count("\u2713") == 8, told
    assert "every machine sees it" in told


def test_afterwards_nothing_runs_on_any_host(cluster):
    cluster.neft_ray("down", "onprem.yaml", "--yes")
    left = {host.name: host.commands() for host in cluster.everyone()}
    assert left == {host.name: [] for host in cluster.everyone()}
