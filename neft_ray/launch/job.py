"""A cluster's job server: a sweep is sent to it as a Ray job, and watched."""

from __future__ import annotations

import getpass
import logging
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests

import neft_ray
from neft_ray.errors import LostContactError, Problem, bad_input
from neft_ray.launch.copies import owner_there
from neft_ray.launch.ssh import Head, ask_with_token
from neft_ray.launch.submission import SWEEP_FILE, Submission, hub_names, pack

JOBS_PORT = 8265
"""Of Ray's dashboard, which takes jobs; on the head's loopback."""
POLL_SECONDS = 2.0
PATIENCE_SECONDS = 600.0
"""Of one who follows a job, for a tunnel that broke to be there again."""
CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging")


@contextmanager
def jobs(head: Head) -> Iterator[Any]:
    """Yield a client of the head's job server, through a tunnel.

    Raises:
        UserError: If the head cannot be reached, or Ray does not run there or lets nobody in.
        LostContactError: If the connection breaks while it is used.
    """
    ask_with_token()
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    with head.tunnel(JOBS_PORT) as port:
        try:
            client = JobSubmissionClient(f"http://127.0.0.1:{port}")
        except AuthenticationError as error:
            remedy = "run `ray get-auth-token --generate` before `ray up`, which takes it along"
            raise bad_input(head, "Ray lets nobody in without its token", remedy) from error
        except (ConnectionError, RuntimeError) as error:
            what = f"Ray's job server does not answer: {str(error).splitlines()[0]}"
            raise bad_input(head, what, "see `neft-ray doctor`, then `ray up` again") from error
        try:
            yield client
        except requests.ConnectionError as error:
            remedy = "what was submitted goes on: see neft-ray status and logs"
            what = "the connection to Ray's job server broke"
            raise LostContactError([Problem(str(head), what, remedy)]) from error


def submit(client: Any, head: Head, submission: Submission) -> str:
    """Send a sweep to a cluster and return the job's name.

    The package travels too: what runs there is the very code that checked the file here. So does
    the hub's token of whoever submits, if the sweep takes something from there.

    Raises:
        UserError: If what would travel is too large, missing or outside of the present folder.
    """
    from huggingface_hub import get_token

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / SWEEP_FILE).write_text(submission.text)
        pack(submission.config, folder)
        name = submission.run_name
        if submission.resumes:
            name += f"-{secrets.token_hex(2)}"  # a job's name is used once
        if hub_names(submission.config) and (token := get_token()):
            submission = replace(submission, token_file=_hand_over(head, name, token))
        return str(
            client.submit_job(
                entrypoint=submission.command,
                submission_id=name,
                runtime_env={
                    "working_dir": str(folder),
                    "py_modules": [str(Path(neft_ray.__file__).parent)],
                },
                metadata={"run": submission.run_name, "user": getpass.getuser()},
            )
        )


def _hand_over(head: Head, name: str, token: str) -> str:
    """Leave a secret on the head for one job, which takes it away; never in a command's words."""
    file = f"$HOME/.neft_ray/secrets/{name}"
    write = f"umask 077; mkdir -p ~/.neft_ray/secrets; cat > {file}; echo {file}"
    return head.run(write, given=token).strip()


def output(client: Any, name: str) -> Iterator[str]:
    """Yield what a job prints, as it comes, until it has ended.

    Raises:
        requests.ConnectionError: If nothing was heard of it for `PATIENCE_SECONDS`.
    """
    shown, heard = 0, time.monotonic()
    while True:
        try:
            is_over = client.get_job_status(name).is_terminal()  # first: the logs are whole then
            text = client.get_job_logs(name)
        except requests.ConnectionError:  # until the tunnel is there again
            if time.monotonic() - heard > PATIENCE_SECONDS:
                raise
        else:
            heard = time.monotonic()
            yield text[shown:]
            shown = len(text)
            if is_over:
                return
        time.sleep(POLL_SECONDS)


def has_begun(client: Any, name: str, head: Head, root: str) -> bool:
    """Wait until a job's run has begun, after all checks, or has ended before that.

    Args:
        client: Of the job server.
        name: The job's.
        head: Where it runs.
        root: The run directory there.
    """
    while owner_there(head, root) is None:
        if client.get_job_status(name).is_terminal():
            return has_succeeded(client, name)  # so soon that nobody saw it
        time.sleep(POLL_SECONDS)
    return True


def has_succeeded(client: Any, name: str) -> bool:
    """Tell whether a job that has ended came to a good end."""
    from ray.job_submission import JobStatus

    return bool(client.get_job_status(name) == JobStatus.SUCCEEDED)
