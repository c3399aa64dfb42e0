"""Throw-away hosts on one machine, for tests of clusters that are none: root only.

A host is a network, pid, mount, uts and ipc namespace with a /tmp, /root, /run and /dev/shm of its
own and an sshd with key login. It sees the machine's other files, read-only. So whatever is killed
or stopped there touches nothing else, and nothing a host sends leaves the machine: a bridge joins
the hosts, and no route goes further.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

NEEDED = ("ip", "unshare", "nsenter", "sshd", "ssh", "ssh-keygen", "rsync")
DEADLINE_SECONDS = 30.0
REPOSITORY = Path(__file__).parents[2]
INIT = """\
set -e
mount --make-rprivate /
see() {{  # a path below what is replaced stays visible
  case $1 in /tmp/*|/root/*|/run/*) mkdir -p {folder}$1; mount --bind $1 {folder}$1
    mount -o remount,bind,ro {folder}$1 ;; esac
}}
{seen}
mkdir -p {folder}/tmp/shared; mount --bind {shared} {folder}/tmp/shared
mkdir -p {folder}/run/etc
hostname {name}
# gloo and NCCL look up their own host name: without an entry gloo binds loopback and hangs
printf '%s\\n' {names} > {folder}/run/etc/hosts
mount --bind {folder}/run/etc/hosts /etc/hosts
mount --rbind {folder}/run /run
mount -t tmpfs -o size=2g shm /dev/shm
mount --rbind {folder}/root /root
mount --rbind {folder}/tmp /tmp
mount -o remount,bind,ro /
cd /root
exec $(command -v sshd) -D -e -f /run/sshd_config
"""
SSHD = """\
HostKey /run/hostkey
PidFile none
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
MaxStartups 100
MaxSessions 100
"""


def why_not() -> str | None:
    """Say why there can be no hosts here; None where there can."""
    if os.geteuid():
        return "needs root: hosts are namespaces"
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        return f"needs {', '.join(missing)}: apt-get install openssh-server rsync iproute2"
    tried = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"])
    return "may make no namespaces here" if tried.returncode else None


class Host:
    """One of them."""

    def __init__(self, hosts: "Hosts", number: int) -> None:
        self._hosts, self._number = hosts, number
        self.name = f"{hosts.prefix}{number}"
        self.address = hosts.address(number)
        self.folder = hosts.base / self.name
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Boot: an empty machine at first, later one with the files it had."""
        self._files()
        _ip("netns", "add", self.name)
        _ip("link", "add", f"v{self.name}", "type", "veth", "peer", "eth0", "netns", self.name)
        _ip("link", "set", f"v{self.name}", "master", self._hosts.bridge, "up")
        for setting in ("link set lo up", "link set eth0 up"):
            _ip("-n", self.name, *setting.split())
        _ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        # Ray learns its address from a route to the world; what is sent there finds no neighbour
        _ip("-n", self.name, "route", "add", "default", "dev", "eth0")
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
        _ip("link", "set", f"v{self.name}", "down")

    def mend(self) -> None:
        """Get the link back."""
        _ip("link", "set", f"v{self.name}", "up")

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

    def _files(self) -> None:
        for path in ("tmp", "root/.ssh", "run/sshd"):
            (self.folder / path).mkdir(parents=True, exist_ok=True)
        (self.folder / "tmp").chmod(0o1777)
        (self.folder / "root/.ssh").chmod(0o700)
        shutil.copy(self._hosts.key.with_suffix(".pub"), self.folder / "root/.ssh/authorized_keys")
        if not (self.folder / "run/hostkey").exists():
            _make_key(self.folder / "run/hostkey")
        (self.folder / "run/sshd_config").write_text(SSHD)
        profile = "".join(f"export {k}={v}\n" for k, v in self._hosts.environment.items())
        profile += f"export PATH={Path(sys.prefix) / 'bin'}:$PATH\n"
        for name in (".profile", ".bashrc"):
            (self.folder / "root" / name).write_text(profile)
        seen = dict.fromkeys((sys.prefix, sys.base_prefix, str(REPOSITORY)))
        script = INIT.format(
            folder=self.folder,
            shared=self._hosts.shared,
            name=self.name,
            names=" ".join(f"'{line}'" for line in self._hosts.names()),
            seen="\n".join(f"see {path}" for path in seen),
        )
        (self.folder / "init.sh").write_text(script)


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
        _make_key(self.key)
        _ip("link", "add", self.bridge, "type", "bridge")
        try:
            _ip("link", "set", self.bridge, "up")
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


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"


def _make_key(path: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True)
