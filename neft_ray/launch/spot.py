"""Watches over a machine of a spot market: when it is called back, Ray is told to leave it.

`neft-ray spot` runs on every worker (clusters/aws.yaml, gcp.yaml). Ray places nothing more on a
machine that it drains, and slots see that theirs is one: their trials go on elsewhere, from a
checkpoint of that very step (sweep/worker_group.py).

Sources: AWS, "Spot Instance interruption notices" and "rebalance recommendations"; Google, "Spot
VMs: preemption process".
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import requests

from neft_ray.launch.detached import HOME
from neft_ray.launch.detached import start as start_detached

logger = logging.getLogger(__name__)
AWS_SERVICE = "http://169.254.169.254/latest"
GOOGLE_SERVICE = "http://169.254.169.254/computeMetadata/v1/instance"
POLL_SECONDS = 2.0
TIMEOUT_SECONDS = 2.0
TOKEN_SECONDS = 300
GOOGLE_GRACE_SECONDS = 30.0
LOG_FILE = HOME / "spot.log"
TOKEN_FILE = Path("~/.ray/auth_token").expanduser()
"""Of Ray; where there is one, its processes ask for it."""


@dataclass(frozen=True)
class Notice:
    """Word that the machine is called back.

    Attributes:
        what: In the market's words.
        at: When it is taken away, in seconds since the epoch; None: it may be, sooner or later.
    """

    what: str
    at: float | None


def aws_notice(with_advice: bool) -> Notice | None:
    """Ask AWS' metadata service, with the session token that version 2 wants.

    Args:
        with_advice: Take the advice to leave, which comes earlier if at all, for a notice.
    """
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
    given = requests.put(f"{AWS_SERVICE}/api/token", headers=lifetime, timeout=TIMEOUT_SECONDS)
    given.raise_for_status()
    header = {"X-aws-ec2-metadata-token": given.text}
    if (action := _ask(f"{AWS_SERVICE}/meta-data/spot/instance-action", header)) is not None:
        told = json.loads(action)
        at = datetime.fromisoformat(told["time"]).timestamp()
        return Notice(f"spot {told['action']} at {told['time']}", at)
    advice = f"{AWS_SERVICE}/meta-data/events/recommendations/rebalance"
    if with_advice and _ask(advice, header) is not None:
        return Notice("spot rebalance recommendation", None)
    return None


def google_notice(with_advice: bool) -> Notice | None:
    """Ask Google's metadata service; it gives no advice."""
    header = {"Metadata-Flavor": "Google"}
    if _ask(f"{GOOGLE_SERVICE}/preempted", header) == "TRUE":
        return Notice("spot preempted", time.time() + GOOGLE_GRACE_SECONDS)
    return None


MARKETS: dict[str, Callable[[bool], Notice | None]] = {"aws": aws_notice, "gcp": google_notice}


def start(market: str, head: str, with_advice: bool) -> None:
    """Watch in the background, until the machine is called back.

    Args:
        market: One of MARKETS.
        head: Address and port of the cluster's Ray.
        with_advice: See `aws_notice`.
    """
    with_token = {"RAY_AUTH_MODE": "token"} if TOKEN_FILE.exists() else {}
    arguments = (market, head, str(int(with_advice)))
    environment = os.environ | with_token
    start_detached(__name__, *arguments, log_file=LOG_FILE, environment=environment)


def watch(market: str, head: str, with_advice: bool) -> None:
    """Ask until there is a notice, then drain this machine."""
    ask = MARKETS[market]
    while (notice := _told(ask, with_advice)) is None:
        time.sleep(POLL_SECONDS)
    logger.warning("%s: leaving", notice.what)
    while not _drain(head, notice):
        time.sleep(POLL_SECONDS)


def _told(ask: Callable[[bool], Notice | None], with_advice: bool) -> Notice | None:
    try:
        return ask(with_advice)
    except requests.RequestException as error:
        logger.warning("the metadata service does not answer: %s", error)
        return None


def _ask(url: str, header: dict[str, str]) -> str | None:
    """Return what the metadata service knows under an address; None where it knows nothing."""
    answer = requests.get(url, headers=header, timeout=TIMEOUT_SECONDS)
    if answer.status_code == requests.codes.not_found:
        return None
    answer.raise_for_status()
    return answer.text.strip()


def _drain(head: str, notice: Notice) -> bool:
    """Tell Ray that this machine goes away; False where that is to be tried again."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    try:
        client = GcsClient(address=head)
        if (node := _own_node(client)) is None:
            logger.warning("Ray does not run here yet")
            return False
        reason = DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
        deadline_ms = int(1000 * notice.at) if notice.at is not None else 0
        accepted, why = client.drain_node(node, reason, notice.what, deadline_ms)
    except Exception as error:  # Ray's client raises many kinds; the head may be on its way back
        logger.warning("Ray cannot be told: %r", error)
        return False
    logger.warning("told Ray: %s", "it leaves this machine" if accepted else f"refused, {why}")
    return bool(accepted)


def _own_node(client: Any) -> str | None:
    """Return the name by which Ray knows this machine."""
    from ray.core.generated.gcs_pb2 import GcsNodeInfo
    from ray.util import get_node_ip_address

    here = get_node_ip_address()
    for node, about in client.get_all_node_info().items():
        if about.node_manager_address == here and about.state == GcsNodeInfo.ALIVE:
            return str(node.hex())
    return None


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(message)s")
    watch(sys.argv[1], sys.argv[2], sys.argv[3] == "1")
