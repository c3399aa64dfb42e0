"""What a throw-away host boots from: the script that makes it one, its sshd, its login."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cluster.hosts import Hosts

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


def write_files(hosts: "Hosts", name: str, folder: Path) -> None:
    """Write what a host boots from: its keys, its login profile and the script of its process 1."""
    for path in ("tmp", "root/.ssh", "run/sshd"):
        (folder / path).mkdir(parents=True, exist_ok=True)
    (folder / "tmp").chmod(0o1777)
    (folder / "root/.ssh").chmod(0o700)
    shutil.copy(hosts.key.with_suffix(".pub"), folder / "root/.ssh/authorized_keys")
    if not (folder / "run/hostkey").exists():
        make_key(folder / "run/hostkey")
    (folder / "run/sshd_config").write_text(SSHD)
    profile = "".join(f"export {k}={v}\n" for k, v in hosts.environment.items())
    profile += f"export PATH={Path(sys.prefix) / 'bin'}:$PATH\n"
    for file in (".profile", ".bashrc"):
        (folder / "root" / file).write_text(profile)
    seen = dict.fromkeys((sys.prefix, sys.base_prefix, str(REPOSITORY)))
    script = INIT.format(
        folder=folder,
        shared=hosts.shared,
        name=name,
        names=" ".join(f"'{line}'" for line in hosts.names()),
        seen="\n".join(f"see {path}" for path in seen),
    )
    (folder / "init.sh").write_text(script)


def make_key(path: Path) -> None:
    """Make a key pair without a passphrase."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True)
