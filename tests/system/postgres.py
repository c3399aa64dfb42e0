"""A private PostgreSQL of Debian's packages in a temporary folder, as an unprivileged user."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

USER = "postgres"
FAST = ("fsync=off", "full_page_writes=off")


def binaries() -> Path:
    """Return the folder of the newest PostgreSQL, or skip the test."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    if not found:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    return found[-1].parent


class Postgres:
    """A cluster that listens on a socket in its own folder, and nowhere else."""

    def __init__(self):
        self._bin = binaries()
        self.folder = Path(tempfile.mkdtemp(prefix="neft-pg-"))
        self._as_user = []
        if os.geteuid() == 0:  # it refuses to run as root
            account = pwd.getpwnam(USER)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self._as_user = ["runuser", "-u", USER, "--"]
        self._run("initdb", "-D", self.data, "-A", "trust", "-U", "neft", "--no-sync", "-E", "UTF8")
        self.start()

    @property
    def data(self):
        return self.folder / "data"

    @property
    def uri(self):
        return f"postgresql://neft@/postgres?host={self.folder}"

    def start(self):
        settings = [f"-c {setting}" for setting in (*FAST, "listen_addresses=''")]
        options = " ".join(["-k", str(self.folder), *settings])
        log = self.folder / "log"
        self._run("pg_ctl", "-D", self.data, "-o", options, "-l", log, "-w", "start")

    def stop(self):
        """End it as a power cut does."""
        self._run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder)

    def _run(self, program, *arguments):
        command = [*self._as_user, self._bin / program, *arguments]
        # its server must not inherit the pipes, or reading them never ends
        done = subprocess.run(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            cwd="/",
        )
        log = self.folder / "log"
        assert done.returncode == 0, done.stderr or (log.exists() and log.read_text())
