"""What is missing or wrong with a cluster, found out before it is used."""

from __future__ import annotations

import json
import secrets
import shlex
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neft_ray.config.cluster import LOCAL, ClusterFile
from neft_ray.errors import Problem, UserError
from neft_ray.launch import aws, gcp, job, probe
from neft_ray.launch.cluster_checks import file_findings, findings_here
from neft_ray.launch.ssh import Head
from neft_ray.launch.submission import mlflow_uri
from neft_ray.working_copy import is_bucket

CLOUDS = {
    "aws": (aws.key_findings, aws.account_findings, "machine types, images, roles, networks"),
    "gcp": (gcp.key_findings, gcp.account_findings, "login, network, firewall"),
}
"""By Ray's name of a provider: what looks at its keys and at its account, and what that is."""
LEAST_FREE_BYTES = 20 * 10**9
MOST_SKEW_SECONDS = 5.0
SAME_TORCH = "install the same torch, built for CUDA, on both"
EXACT = ("ray", "neft-ray")
"""Packages of which a job needs the same version everywhere."""


@dataclass(frozen=True)
class Checked:
    """One thing that was looked at.

    Attributes:
        what: Such as `file` or a machine's address.
        told: What was found, where it is fine.
        problems: What is not.
        is_fine: False for what cannot be said yet.
    """

    what: str
    told: str = ""
    problems: tuple[Problem, ...] = ()
    is_fine: bool = True


def examine(cluster: ClusterFile) -> Iterator[Checked]:
    """Look at a cluster: its file, this machine, its machines, what runs there.

    What a problem makes pointless to look at is not looked at.
    """
    cloud = CLOUDS.get(cluster.provider["type"])
    of_keys = cloud[0](cluster) if cloud else ()
    in_file = cluster.places.problems([*file_findings(cluster), *of_keys])
    yield Checked("file", str(cluster.path), tuple(in_file))
    lacking = cluster.places.problems(findings_here(cluster))
    yield Checked("this machine", "ssh, rsync, key, token", tuple(lacking))
    if in_file or lacking:
        return
    if cloud:
        missing = cluster.places.problems(cloud[1](cluster))
        yield Checked("account", cloud[2], tuple(missing))
        if missing:
            return
        yield _quotas(cluster)
    try:
        head = Head.of(cluster)
    except UserError as error:
        yield Checked("cluster", f"not up: {error}", is_fine=False)
        return
    machines = [head]
    if cluster.provider["type"] == LOCAL:
        workers = cluster.provider["worker_ips"]
        machines += [Head(address, head.user, head.key, head.proxy) for address in workers]
    yield from _machines(cluster, machines)
    yield from _running(cluster, head)


def _quotas(cluster: ClusterFile) -> Checked:
    """Ask whether machines may be had; Google's quotas are of too many kinds to be asked here."""
    if cluster.provider["type"] != "aws":
        return Checked("quota", "unknown: see your project's page of quotas", is_fine=False)
    too_little, unknown = aws.quotas(cluster)
    told = "; ".join(f"unknown: {what}" for what in unknown)
    problems = tuple(cluster.places.problems(too_little))
    return Checked("quota", told or "a machine of each type", problems, is_fine=not unknown)


def _machines(cluster: ClusterFile, machines: list[Head]) -> Iterator[Checked]:
    """Ask all machines at once what they are."""
    place, mark = cluster.settings.storage, f".probe-{secrets.token_hex(4)}"
    folder = "" if is_bucket(place) else place
    ours = probe.probe("", "")
    with ThreadPoolExecutor(len(machines)) as pool:
        asked = pool.map(
            lambda machine: _ask(machine, folder, f"{mark}-{machine.address}"), machines
        )
        answers = dict(zip(machines, asked, strict=True))
    for machine, answer in answers.items():
        if isinstance(answer, UserError):
            yield Checked(machine.address, problems=answer.problems)
        else:
            yield Checked(
                machine.address, _described(answer), tuple(_ailments(machine, answer, ours))
            )
    sound = {m: answer for m, answer in answers.items() if not isinstance(answer, UserError)}
    there = list(sound)
    yield from nccl_of({machine.address: answer for machine, answer in sound.items()})
    if folder and there:
        yield _shared(folder, mark, there)
    elif there:
        yield _bucket(place, machines[0])


def nccl_of(answers: Mapping[str, Mapping[str, Any]]) -> Iterator[Checked]:
    """Compare the NCCL of machines with GPUs; those of one trial must have the same.

    Args:
        answers: What every machine says of itself, by its address.
    """
    found = {address: it["nccl"] for address, it in answers.items() if it["gpus"]}
    versions = sorted({version for version in found.values() if version is not None})
    if not found:
        return
    if not versions:
        yield Checked("nccl", "unknown: comes later, with torch", is_fine=False)
        return
    first = versions[0]
    problems = [
        Problem(address, f"has NCCL {version or 'none'}, another machine {first}", SAME_TORCH)
        for address, version in found.items()
        if version != first
    ]
    yield Checked("nccl", f"{first} wherever there are GPUs", tuple(problems))


def _ask(machine: Head, folder: str, mark: str) -> dict[str, Any] | UserError:
    script = Path(probe.__file__).read_text()
    before = time.time()
    try:
        told = machine.run(f"python3 - {shlex.quote(folder)} {shlex.quote(mark)}", script)
    except UserError as error:
        return error
    answer: dict[str, Any] = json.loads(told.splitlines()[-1])
    after = time.time()
    # It told the time between the two; what lies outside of them is skew
    answer["skew"] = max(before - answer["time"], answer["time"] - after, 0.0)
    return answer


def _described(answer: dict[str, Any]) -> str:
    gpus = [gpu.partition(", ")[2] for gpu in answer["gpus"] if not gpu.startswith("broken")]
    parts = [f"{answer['cores']} cores", f"{answer['free_bytes'] / 1e9:.0f} GB free"]
    parts += [f"{gpus.count(name)} × {name}" for name in dict.fromkeys(gpus)]
    versions = (f"{name} {answer['versions'][name] or 'comes later'}" for name in EXACT)
    return ", ".join([*parts, *versions])


def _ailments(machine: Head, answer: dict[str, Any], ours: dict[str, Any]) -> Iterator[Problem]:
    where = machine.address
    if answer["python"] != ours["python"]:
        what = f"runs Python {answer['python']}, this machine {ours['python']}"
        yield Problem(where, what, "use the same on both: jobs are pickled")
    for name, here in ours["versions"].items():
        there = answer["versions"][name]
        if there is not None and there != here and name in EXACT:
            yield Problem(where, f"has {name} {there}, this machine {here}", "install the same")
    if answer["free_bytes"] < LEAST_FREE_BYTES:
        what = f"has {answer['free_bytes'] / 1e9:.0f} GB free"
        yield Problem(
            where, what, f"free {LEAST_FREE_BYTES / 1e9:.0f} GB for models and checkpoints"
        )
    if answer["skew"] > MOST_SKEW_SECONDS:
        what = f"its clock is {answer['skew']:.0f} s off"
        yield Problem(where, what, "let it follow a time server, such as chrony")
    if answer["own_address"] is None or answer["own_address"].startswith("127."):
        what = f"its own name stands for {answer['own_address'] or 'nothing'}"
        remedy = "give it its address in /etc/hosts: other machines are told what it says"
        yield Problem(where, what, remedy)
    for gpu in answer["gpus"]:
        if gpu.startswith("broken"):
            yield Problem(where, f"NVIDIA's driver is {gpu}", "reinstall it, or reboot")
    if answer["storage"]:
        yield Problem(where, f"storage: {answer['storage']}", "let its user write there")


def _shared(folder: str, mark: str, machines: list[Head]) -> Checked:
    """Look from every machine whether it sees what the others left in the storage."""
    problems = []
    quoted = shlex.quote(folder)
    for machine in machines:
        seen = machine.run(f"ls -a {quoted} | grep -c ^{mark} || true").strip()
        if int(seen or 0) != len(machines):
            what = f"sees {seen} of {len(machines)} files that all machines left in {folder}"
            remedy = "mount the same folder on every machine, or use a bucket"
            problems.append(Problem(machine.address, what, remedy))
    for machine in machines:
        machine.run(f"rm -f {quoted}/{mark}*")
    return Checked("storage", f"{folder}: every machine sees it", tuple(problems))


def _bucket(place: str, head: Head) -> Checked:
    """Let the head write, read and delete an object."""
    code = (
        "from neft_ray.bucket import Bucket; b = Bucket({place!r}); name = {name!r}; "
        "b.put(name, b'probe'); assert b.get(name) == b'probe'; b.delete(name)"
    ).format(place=place, name=f".probe-{secrets.token_hex(4)}")
    try:
        head.run(f"python -c {shlex.quote(code)}")
    except UserError as error:
        return Checked("storage", problems=error.problems)
    return Checked("storage", f"{place}: the head writes, reads and deletes")


def _running(cluster: ClusterFile, head: Head) -> Iterator[Checked]:
    """Look at what `ray up` started."""
    up = f"ray up {cluster.path}"
    if not head.run("command -v ray > /dev/null && pgrep -f '[g]cs_server' || true"):
        yield Checked("ray", f"not up yet: {up}", is_fine=False)
        return
    try:
        with job.jobs(head):
            yield Checked("ray", "its job server answers")
    except UserError as error:
        yield Checked("ray", problems=error.problems)
        return
    if cluster.settings.mlflow is None:
        return
    try:
        uri = mlflow_uri(head)
        if uri is None:
            yield Checked("mlflow", problems=(Problem(str(head), "MLflow does not run", up),))
        else:
            head.run(f"curl -fsS {shlex.quote(uri)}/health")
            yield Checked("mlflow", f"{uri} answers")
    except UserError as error:
        yield Checked("mlflow", problems=error.problems)
