"""One throw-away host: started and killed, cut off and mended, commands at its console."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.cluster.boot import write_files

if TYPE_CHECKING:
    from tests.cluster.hosts import Hosts

DEADLINE_SECONDS = 30.0


class Host:
    """A throw-away host: power, network link, console."""

    def __init__(self, hosts: "Hosts", number: int) -> None:
        self._hosts, self._number = hosts, number
        self.name = f"{hosts.prefix}{number}"
        self.address = hosts.address(number)
        self.folder = hosts.base / self.name
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Boot: an empty machine at first, later one with the files it had."""
        write_files(self._hosts, self.name, self.folder)
        ip("netns", "add", self.name)
        ip("link", "add", f"v{self.name}", "type", "veth", "peer", "eth0", "netns", self.name)
        ip("link", "set", f"v{self.name}", "master", self._hosts.bridge, "up")
        for setting in ("link set lo up", "link set eth0 up"):
            ip("-n", self.name, *setting.split())
        ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        # Ray learns its address from a route to the world; what is sent there finds no neighbour
        ip("-n", self.name, "route", "add", "default", "dev", "eth0")
        unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc"]
        command = ["ip", "netns", "exec", self.name, *unshare, "--mount-proc", "bash"]
        with (self.folder / "boot.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, str(self.folder / "init.sh")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until one can log in."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self.run("true", check=False).returncode:
            assert time.monotonic() < deadline, (self.folder / "boot.log").read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        """Lose power: every process ends at once, the files stay."""
        with suppress(ProcessLookupError):
            os.kill(self.first().pid, signal.SIGKILL)
        self._process.wait(DEADLINE_SECONDS)
        self._unplug()

    def restart(self) -> None:
        """Come back after `kill`."""
        self.start()
        self.wait()

    def cut(self) -> None:
        """Lose the network link; processes go on."""
        ip("link", "set", f"v{self.name}", "down")

    def mend(self) -> None:
        """Get the link back."""
        ip("link", "set", f"v{self.name}", "up")

    def run(
        self, command: str, check: bool = True, seconds: float = 180.0
    ) -> subprocess.CompletedProcess:
        """Run a shell command as if typed at the host's own console."""
        done = subprocess.run(
            self.console(command), capture_output=True, text=True, timeout=seconds
        )
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def start_command(self, command: str, output: Path) -> subprocess.Popen:
        """Start a shell command at the console and return its process on this machine."""
        with output.open("ab") as file:
            return subprocess.Popen(
                self.console(command), stdout=file, stderr=file, stdin=subprocess.DEVNULL
            )

    def console(self, command: str) -> list[str]:
        """Return what runs a shell command in the host."""
        enter = ["nsenter", "-t", str(self.first().pid), "-a"]
        return [
            *enter,
            "env",
            "-i",
            "HOME=/root",
            "TERM=dumb",
            "bash",
            "--login",
            "-c",
            f"cd; {command}",
        ]

    def commands(self) -> list[str]:
        """Return the command lines of what runs there, but for sshd and who is logged in."""
        running = self.first().children(recursive=True)
        lines = [" ".join(process.cmdline()) for process in running if process.is_running()]
        return [line for line in lines if line and not line.startswith("sshd")]

    def down(self) -> None:
        """End whatever runs and unplug."""
        if self.is_on:
            self.kill()
        self._unplug()

    @property
    def is_on(self) -> bool:
        """Whether it has power."""
        return self._process is not None and self._process.poll() is None

    def first(self) -> psutil.Process:
        """Return the process that is the host's number 1."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        outer = psutil.Process(self._process.pid)
        while not (children := outer.children()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return children[0]

    def _unplug(self) -> None:
        for command in (("netns", "del", self.name), ("link", "del", f"v{self.name}")):
            subprocess.run(["ip", *command], capture_output=True)


def ip(*arguments: str) -> None:
    """Run iproute2 and fail if it does."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
