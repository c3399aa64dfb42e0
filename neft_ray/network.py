"""How a worker's machine reaches the others: what gloo and NCCL are told of it, and what is seen.

Told is only what they would not find by themselves, and nothing that somebody has set. On AWS the
plugin aws-ofi-nccl chooses EFA and what a machine type needs (its `platform-aws.cpp`), libfabric
uses RDMA where a device has it (`fi_efa(7)`), and NCCL leaves out `lo` and `docker*`. But gloo
takes whatever address the machine's own name stands for, and NCCL the first of many interfaces.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

SYSTEM = Path("/sys")
CONFIGURATION = Path("/etc/nccl.conf")
PLUGIN = "libnccl-net.so"
"""By this name NCCL looks for what brings it to EFA."""
SHOWN = ("NCCL_", "TORCH_NCCL_", "GLOO_", "FI_", "OFI_NCCL_")


@dataclass(frozen=True)
class Network:
    """What was found on a machine.

    Attributes:
        address: By which Ray knows the machine.
        interface: That has this address; None where none has.
        efa: EFA devices, by name.
        has_plugin: Whether NCCL will find what brings it to them.
    """

    address: str
    interface: str | None
    efa: tuple[str, ...] = ()
    has_plugin: bool = False

    def settings(self) -> dict[str, str]:
        """Return variables for gloo and NCCL. One that is set already should stay as it is."""
        if self.interface is None:
            return {}
        # "=" is NCCL's way to mean this very name, not all that begin with it
        return {
            "GLOO_SOCKET_IFNAME": self.interface,
            "NCCL_SOCKET_IFNAME": f"={self.interface}",
        }

    def told(self, environment: Mapping[str, str]) -> str:
        """Say in one line what there is, and which variables are set."""
        parts = [f"{self.interface or 'no interface'} has {self.address}"]
        if self.efa:
            parts.append(f"{len(self.efa)} EFA ({', '.join(self.efa)})")
            if not self.has_plugin:
                parts.append(f"no {PLUGIN} for them: NCCL talks over TCP; install aws-ofi-nccl")
        parts += sorted(f"{k}={v}" for k, v in environment.items() if k.startswith(SHOWN))
        return "; ".join(parts)


def look(address: str, system: Path = SYSTEM) -> Network:
    """Look what this machine has.

    Args:
        address: By which Ray knows it.
        system: Where Linux tells of its devices.
    """
    by_address = {
        entry.address.partition("%")[0]: name
        for name, entries in psutil.net_if_addrs().items()
        for entry in entries
    }
    drivers = sorted((system / "class/infiniband").glob("*/device/driver"))
    efa = tuple(link.parents[1].name for link in drivers if link.resolve().name == "efa")
    return Network(address, by_address.get(address), efa, bool(efa) and _has_plugin(os.environ))


def prepare(address: str, configuration: Path = CONFIGURATION) -> None:
    """Tell gloo and NCCL of this process; before it joins others.

    Args:
        address: By which Ray knows the machine.
        configuration: NCCL's own file. What it sets stays.
    """
    place = Path(os.environ.get("NCCL_CONF_FILE", configuration))
    lines = place.read_text().splitlines() if place.is_file() else []
    theirs = {line.partition("=")[0].strip() for line in lines} | os.environ.keys()
    os.environ.update({k: v for k, v in look(address).settings().items() if k not in theirs})


def _has_plugin(environment: Mapping[str, str]) -> bool:
    """Whether the loader finds NCCL's plugin: where a variable says, or in the system's list."""
    folders = environment.get("LD_LIBRARY_PATH", "").split(":")
    if any(folder and (Path(folder) / PLUGIN).exists() for folder in folders):
        return True
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True)
    return PLUGIN in listed.stdout
