"""The shipped script for Slurm: what it asks of Slurm and Ray, and a real sweep under it.

Slurm itself is played by two commands: `srun` runs what it is given, `scontrol` writes it down. The
real sweep has a network and process list of its own: `ray symmetric-run` ends every Ray it sees.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from neft_ray.journal import COMPLETED
from neft_ray.run_directory import find_runs
from tests.system import runs
from tests.system.slurm import NOTED, RAY, SHIPPED, Slurm

APART = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]


@pytest.fixture
def slurm(tmp_path):
    """The script with an installation that only notes what it is asked."""
    found = Slurm(tmp_path, tmp_path)
    found.tool("ray", RAY)
    found.tool("neft-ray", NOTED)
    (tmp_path / "bin/python").symlink_to(sys.executable)
    return found


def options():
    """Return what the script asks of Slurm, by option."""
    found = re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?", SHIPPED.read_text(), re.MULTILINE)
    return dict(found)


def test_the_shell_takes_the_scripts():
    for script in SHIPPED.parent.glob("*.sh"):
        assert subprocess.run(["bash", "-n", str(script)]).returncode == 0


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs apt-get install shellcheck")
def test_shellcheck_has_nothing_to_say():
    for script in SHIPPED.parent.glob("*.sh"):
        done = subprocess.run(["shellcheck", str(script)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_slurm_is_asked_for_whole_nodes_and_to_queue_again():
    asked = options()
    assert {"exclusive", "requeue"} <= asked.keys()
    assert asked["ntasks-per-node"] == "1"
    assert asked["signal"] == "B:USR1@300", "to the script alone, in time to stop a step"
    assert asked["open-mode"] == "append", "what queues again goes on in the same file"
    before = SHIPPED.read_text().partition("\nset -euo")[0]
    assert all(not line or line.startswith("#") for line in before.splitlines())


def test_three_things_are_marked():
    lines = SHIPPED.read_text().splitlines()
    marked = {n: [line for line in lines if f"# ({n})" in line] for n in (1, 2, 3)}
    assert [len(found) for found in marked.values()] == [3, 1, 1]
    assert all(line.startswith("#SBATCH ") for line in marked[1])


def test_ray_is_started_on_every_node_and_told_what_a_node_has(slurm):
    assert slurm.run("my.yaml", "--set", "noise.alpha=5", SLURM_GPUS_ON_NODE="4") == 0
    (srun,) = slurm.logged("srun")
    assert {"--ntasks=1", "--cpus-per-task=2", "--kill-on-bad-exit=1"} <= set(srun)
    (ray,) = slurm.logged("ray")
    split = ray.index("--")
    address = "127.0.0.1:24711"
    assert ray[:split] == [
        *("symmetric-run", f"--address={address}", "--min-nodes=1"),
        *("--num-cpus=2", "--num-gpus=4"),
    ]
    wanted = ["neft-ray", "sweep", "my.yaml", "--set", "noise.alpha=5", "--set"]
    wanted += [f"storage={slurm.storage}", "--run-name", "neft-ray-4711", "--address", address]
    assert ray[split + 1 :] == wanted


def test_ray_takes_these_options():
    from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

    given = ["--address=127.0.0.1:24711", "--min-nodes=1", "--num-cpus=2", "--num-gpus=4"]
    assert curate_and_validate_ray_start_args(given) == ["--num-cpus=2", "--num-gpus=4"]


def test_the_token_is_its_owners_alone_and_gone_with_the_job(slurm):
    assert slurm.run("my.yaml") == 0
    lines = slurm.log.read_text().splitlines()
    assert lines[-3:] == ["600", "65", "token /tmp/ray-4711"]
    assert not list(slurm.storage.glob(".token*"))


def test_two_jobs_share_no_port_no_token_and_no_run(slurm):
    assert slurm.run("my.yaml") == 0
    assert slurm.run("my.yaml", SLURM_JOB_ID="4712") == 0
    first, second = (set(words) for words in slurm.logged("ray"))
    assert first - second == {
        *("--address=127.0.0.1:24711", "127.0.0.1:24711", "neft-ray-4711"),
    }


def test_with_several_nodes_the_head_has_an_address_that_others_reach(slurm):
    slurm.tool("getent", '#!/bin/bash\nprintf "127.0.1.1 STREAM\\n192.0.2.7 STREAM\\n"\n')
    assert slurm.run("my.yaml", SLURM_JOB_NUM_NODES="2") == 0
    assert "--address=192.0.2.7:24711" in slurm.logged("ray")[0]
    slurm.tool("getent", "#!/bin/bash\nexit 2\n")
    slurm.tool("hostname", '#!/bin/bash\n[ "$1" != -I ] || echo "192.0.2.8 192.0.2.9 "\n')
    assert slurm.run("my.yaml", SLURM_JOB_NUM_NODES="2") == 0
    assert "--address=192.0.2.8:24711" in slurm.logged("ray")[1]
    assert "--min-nodes=2" in slurm.logged("ray")[1]


def test_a_job_that_queued_again_goes_on_with_its_run(slurm):
    run = slurm.storage / "neft-ray-4711"
    run.mkdir(parents=True)
    (run / "manifest.json").write_text("{}")
    assert slurm.run("my.yaml") == 0
    (ray,) = slurm.logged("ray")
    words = ["neft-ray", "sweep", "--resume", str(run), "--address", "127.0.0.1:24711"]
    assert ray[ray.index("--") + 1 :] == words


def test_without_a_sweep_file_nothing_is_started(slurm):
    assert slurm.run() == 2
    assert "usage: sbatch" in slurm.told()
    assert not slurm.log.exists()


def test_what_the_sweep_ends_with_the_job_ends_with(slurm):
    slurm.tool("ray", "#!/bin/bash\nexit 130\n")
    assert slurm.run("my.yaml") == 130


def test_when_the_time_is_up_the_sweep_is_stopped_and_then_the_job_queues_again(slurm):
    process = slurm.start("my.yaml", PATIENCE="5")
    deadline = time.monotonic() + 20
    while not slurm.logged("ray"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) != 0
    lines = [line for line in slurm.log.read_text().splitlines() if " " in line]
    assert lines[-2:] == [
        f"neft-ray stop {slurm.storage}/neft-ray-4711",
        "scontrol requeue 4711",
    ]


def why_not():
    """Say why there can be no machine apart; None where there can."""
    if os.geteuid() or not shutil.which("unshare") or not shutil.which("ip"):
        return "needs root, unshare and ip: apt-get install util-linux iproute2"
    return "may make no namespaces here" if subprocess.run([*APART, "true"]).returncode else None


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_a_real_sweep_is_cut_by_the_time_limit_queues_again_and_ends(tmp_path):
    job = str(4_000_000 + os.getpid())
    slurm = Slurm(tmp_path, sys.prefix)
    sweep = runs.Sweep(
        tmp_path,
        {"slots": 1, "control": None, "finalists": {"num": 0}}
        | {"space": {"noise.alpha": {"choice": [5, 10]}}},
        {"training": {"epochs": 8, "eval_every_steps": 6, "train_loss_rows": 8}},
    )
    before = [*APART, "bash", "-c", 'ip link set lo up && exec "$@"', "node"]
    try:
        sweep.process = slurm.start(sweep.file, before=before, SLURM_JOB_ID=job)
        sweep.output = tmp_path / "output"
        sweep.wait_for_reports(2)
        (script,) = psutil.Process(sweep.process.pid).children()
        script.send_signal(signal.SIGUSR1)
        assert sweep.process.wait(90) != 0, slurm.told()
        assert slurm.logged("scontrol") == [["requeue", job]]
        cut = sweep.records
        assert [record.status for record in cut.values()] != [COMPLETED, COMPLETED]
        assert sweep.run.name == f"neft-ray-{job}"

        sweep.process = slurm.start(sweep.file, before=before, SLURM_JOB_ID=job)
        assert sweep.wait() == 0, slurm.told()
    finally:
        shutil.rmtree(f"/tmp/ray-{job}", ignore_errors=True)
    assert [record.status for record in sweep.records.values()] == [COMPLETED, COMPLETED]
    reports = {number: list(record.reports) for number, record in sweep.records.items()}
    for number, record in cut.items():
        assert reports[number][: len(record.reports)] == list(record.reports)
    assert len(find_runs(slurm.storage)) == 1
    assert "--resume" in slurm.logged("srun")[1]
    assert sweep.run.best_model.is_dir()
