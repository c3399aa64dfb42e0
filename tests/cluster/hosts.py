"""Throw-away hosts on one machine, for tests of clusters that are none: root only.

A host is a network, pid, mount, uts and ipc namespace with a /tmp, /root, /run and /dev/shm of its
own and an sshd with key login. It sees the machine's other files, read-only. So whatever is killed
or stopped there touches nothing else, and nothing a host sends leaves the machine: a bridge joins
the hosts, and no route goes further.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster.boot import REPOSITORY, make_key
from tests.cluster.host import Host, ip

NEEDED = ("ip", "unshare", "nsenter", "sshd", "ssh", "ssh-keygen", "rsync")


def why_not() -> str | None:
    """Say why there can be no hosts here; None where there can."""
    if os.geteuid():
        return "needs root: hosts are namespaces"
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        return f"needs {', '.join(missing)}: apt-get install openssh-server rsync iproute2"
    tried = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"])
    return "may make no namespaces here" if tried.returncode else None


class Hosts:
    """Several hosts on one bridge; `with` ends them and removes all they left."""

    def __init__(
        self, base: Path, num: int, num_off: int = 0, environment: Mapping[str, str] | None = None
    ) -> None:
        """Plan them.

        Args:
            base: A new folder for their files.
            num: How many.
            num_off: How many more, that are off until they are started.
            environment: What every login finds set.
        """
        self.base, self.shared, self.key = base, base / "shared", base / "id"
        self.environment = {
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            **(environment or {}),
        }
        self.prefix = f"n{os.getpid() % 100_000}x"
        self.bridge = f"b{self.prefix}"
        self.net = f"10.213.{os.getpid() % 250}"
        self.all = [Host(self, number) for number in range(1, num + num_off + 1)]
        self._num_on = num

    def address(self, number: int) -> str:
        """Return a host's address; that of the first is 19."""
        return f"{self.net}.{18 + number}"

    def names(self) -> Sequence[str]:
        """Return the lines of everyone's /etc/hosts."""
        numbers = range(1, len(self.all) + 1)
        hosts = [f"{self.address(number)} {self.prefix}{number}" for number in numbers]
        return ["127.0.0.1 localhost", *hosts]

    def __enter__(self) -> "Hosts":
        self.shared.mkdir(parents=True)
        make_key(self.key)
        ip("link", "add", self.bridge, "type", "bridge")
        try:
            ip("link", "set", self.bridge, "up")
            for host in self.all[: self._num_on]:
                host.start()
            for host in self.all[: self._num_on]:
                host.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for host in self.all:
            host.down()
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True)
        mounts = Path("/proc/self/mounts").read_text()
        assert f" {self.base}/" not in mounts, "a mount of a host is left on this machine"
        for host in self.all:
            shutil.rmtree(host.folder, ignore_errors=True)
