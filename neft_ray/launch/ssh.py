"""A cluster's head by ssh: commands there, files from there, and its ports here."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from neft_ray.config.cluster import LOCAL, ClusterFile
from neft_ray.errors import UserError, bad_input
from neft_ray.launch.tunnel import TunnelError, answers, free_port, kept_open

CONNECT_SECONDS = 15
_UNREACHED = 255
"""What ssh returns where it is ssh itself that failed."""


@dataclass(frozen=True)
class Head:
    """How to log in to the machine that leads a cluster."""

    address: str
    user: str
    key: str | None = None
    """A private key file; None: ssh's own choice."""
    proxy: str | None = None
    """A ProxyCommand."""

    @classmethod
    def of(cls, cluster: ClusterFile) -> Head:
        """Find a cluster's head: in its file, or by asking its cloud.

        Raises:
            UserError: If the cluster is not up.
        """
        if cluster.provider["type"] == LOCAL:
            auth = cluster.auth
            address = cluster.provider.get("external_head_ip") or cluster.provider["head_ip"]
        else:
            address, auth = _ask_cloud(cluster)
        key = auth.get("ssh_private_key")
        whole = str(Path(key).expanduser()) if key else None
        return cls(address, auth.get("ssh_user", "ubuntu"), whole, auth.get("ssh_proxy_command"))

    def __str__(self) -> str:
        """Return user and address, as ssh writes them."""
        return f"{self.user}@{self.address}"

    def run(self, command: str, given: str | None = None) -> str:
        """Run a shell command on the head and return what it printed.

        Args:
            command: For a login shell, so that it finds what `ray up` installed.
            given: Its standard input: the place for secrets, which others see in a command.

        Raises:
            UserError: If the head cannot be reached, or the command fails.
        """
        argv = [*self._ssh(), str(self), f"bash --login -c {shlex.quote(command)}"]
        options: dict[str, object] = {"input": given} if given else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(argv, capture_output=True, text=True, **options)  # type: ignore[call-overload]
        if done.returncode:
            raise self._failed(done.returncode, done.stderr, command)
        return str(done.stdout)

    def bring(self, folder: str, target: Path, without: Sequence[str] = ()) -> None:
        """Copy what a folder of the head holds into one here; what is here already is not sent.

        Args:
            folder: On the head.
            target: Here; it and its parents are made.
            without: Patterns of rsync to leave out.

        Raises:
            UserError: If the head cannot be reached, or has no such folder.
        """
        target.mkdir(parents=True, exist_ok=True)
        leave = [f"--exclude={pattern}" for pattern in without]
        argv = ["rsync", "-az", "--partial", *leave, "-e", shlex.join(self._ssh())]
        done = subprocess.run(
            [*argv, f"{self}:{folder}/", f"{target}/"], capture_output=True, text=True
        )
        vanished = 24  # a file that is gone again: the sweep goes on while it is copied
        if done.returncode not in (0, vanished):
            raise self._failed(done.returncode, done.stderr, f"rsync {folder}")

    @contextlib.contextmanager
    def tunnel(self, port: int, host: str = "127.0.0.1", here: int = 0) -> Iterator[int]:
        """Reach a port of the head at a port of this machine, on loopback only.

        A connection that breaks, as one does when a laptop sleeps, is made anew.

        Args:
            port: There.
            host: The address it is bound to, there.
            here: The port on this machine; 0 takes a free one.

        Yields:
            The port on this machine.

        Raises:
            UserError: If the head cannot be reached, or somebody listens at the port here.
        """
        here = here or free_port()
        if answers(here):
            what = "is taken on this machine: another server answers there"
            raise bad_input(f"port {here}", what, "name another one with --port")
        forward = f"127.0.0.1:{here}:{host}:{port}"
        argv = [*self._ssh(), "-N", "-o", "ExitOnForwardFailure=yes", "-L", forward, str(self)]
        try:
            with kept_open(argv, here, str(self), CONNECT_SECONDS):
                yield here
        except TunnelError as error:
            status = _UNREACHED if error.status is None else error.status
            raise self._failed(status, error.told, "a tunnel") from error

    def _ssh(self) -> list[str]:
        """Return ssh with its options; a head's key is learned once and then insisted on."""
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(CONNECT_SECONDS),
            "ServerAliveInterval": "10",
            "StrictHostKeyChecking": "accept-new",
            "LogLevel": "ERROR",
        }
        if self.proxy:
            options["ProxyCommand"] = self.proxy
        argv = ["ssh", *(part for k, v in options.items() for part in ("-o", f"{k}={v}"))]
        return [*argv, "-i", self.key] if self.key else argv

    def _failed(self, status: int, told: str, command: str) -> UserError:
        last = (told.strip().splitlines() or ["no reason given"])[-1]
        if status == _UNREACHED:
            remedy = "is the cluster up (`ray up`), and the key in `auth` the right one?"
            if "Host key" in last:
                remedy = f"if the machine is a new one: ssh-keygen -R {self.address}"
            return bad_input(self, f"cannot be reached: {last}", remedy)
        return bad_input(self, f"`{command}` failed: {last}", "see neft-ray doctor")


def ask_with_token() -> None:
    """Let this process show Ray's token, that of `ray get-auth-token`, to whichever Ray it asks.

    Is read by Ray as it is loaded. A cluster without a token ignores it.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")


def _ask_cloud(cluster: ClusterFile) -> tuple[str, dict[str, str]]:
    """Return a head's address, and how to log in to it."""
    ask_with_token()
    from ray.autoscaler import sdk

    logging.getLogger("ray.autoscaler").setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Ray tells what it has cached
            address = sdk.get_head_node_ip(str(cluster.path))
            auth = sdk.bootstrap_config(cluster.values)["auth"]
    except Exception as error:  # whatever a cloud's library raises
        remedy = f"`ray up {cluster.path}` first, and see `neft-ray doctor {cluster.path}`"
        raise bad_input(cluster.path, f"the cluster has no head: {error}", remedy) from error
    return address, dict(auth)
