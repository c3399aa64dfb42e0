"""What the owner of the throw-away hosts sees of them: who listens, and where a secret is."""

import os
import re
from pathlib import Path

import psutil

from tests.cluster.host import Host

MODULES = ("ray.util.client.server", "uvicorn", "mlflow", "neft_ray.cli", "neft_ray.launch.head")
LISTENS, LOOPBACK = "0A", "0100007F"
"""In the kernel's tables of sockets."""
GONE = (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess)
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


def processes(host: Host) -> list[psutil.Process]:
    """All that run there."""
    return [host.first(), *host.first().children(recursive=True)]


def name_of(process: psutil.Process) -> str:
    """What a process is called below: a program, a module, an agent of Ray, or `ray::`."""
    line = process.cmdline()
    if not line:
        return ""
    if line[0].startswith("ray::"):
        agent = re.match(r"ray::\w+", line[0])
        train = "ray::RayTrainWorker"
        return agent[0] if agent and agent[0] in (*AGENTS, train) else "ray::"
    module = next((name for name in MODULES if name in line), None)
    return module or os.path.basename(line[0].split(":")[0])


def listeners(host: Host) -> dict[int, str]:
    """Who listens to other machines, by TCP port."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        lines = Path(f"/proc/{host.first().pid}/net/{table}").read_text().splitlines()[1:]
        for _, place, _, state, *more in map(str.split, lines):
            address, port = place.split(":")
            if state == LISTENS and not address.endswith(LOOPBACK):
                sockets[f"socket:[{more[5]}]"] = int(port, 16)
    found = {}
    for process in processes(host):
        try:
            held = {os.readlink(file) for file in Path(f"/proc/{process.pid}/fd").iterdir()}
            found |= {sockets[one]: name_of(process) for one in held & sockets.keys()}
        except GONE:
            continue
    return found


def files_with(host: Host, secret: str) -> dict[str, int]:
    """The files of a host that hold a text, with their modes."""
    found = {}
    for place in ("root", "tmp"):
        for path in (host.folder / place).rglob("*"):
            if path.is_file() and not path.is_symlink() and secret.encode() in path.read_bytes():
                mode = path.stat().st_mode & 0o777
                found[path.relative_to(host.folder).as_posix()] = mode
    return found


def processes_with(host: Host, secret: str, what: str) -> set[str]:
    """Who has a text in its `cmdline` or `environ`."""
    found = set()
    for process in processes(host):
        try:
            if secret.encode() in Path(f"/proc/{process.pid}/{what}").read_bytes():
                found.add(name_of(process))
        except GONE:
            continue
    return found
