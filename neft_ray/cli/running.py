"""Carries a sweep or a trial out while its live view is shown: for commands and for Python."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import nullcontext

from neft_ray.cli.interrupt import stops_sweep
from neft_ray.cli.options import Start
from neft_ray.cli.view import SweepView
from neft_ray.config.sweep import SweepConfig
from neft_ray.pipeline.resume import check_resume
from neft_ray.pipeline.run import Outcome, run_single, run_sweep
from neft_ray.pipeline.session import Session
from neft_ray.plan import make_plan
from neft_ray.run_directory import RunDirectory
from neft_ray.sweep.cluster import check_fits_locally
from neft_ray.terminal import only_ours, waiting


def carry_out(
    kind: str,
    config: SweepConfig,
    run: RunDirectory | None,
    start: Start,
    swaps: Sequence[str] = (),
) -> tuple[RunDirectory, Outcome]:
    """Run or go on until the end, or until Ctrl-C.

    Args:
        kind: `sweep` or `train`.
        config: The sweep.
        run: What to go on with; None: a new run.
        start: The address, and the name of a new run directory.
        swaps: What a stand-in has in place of the real thing.

    Raises:
        UserError: Before anything is started, with every problem.
    """
    if run is not None:
        check_resume(run, kind, config)
    check_fits_locally(config.workers, start.address)
    with waiting("checking model and data, tokenizing what is new"):
        session = Session.open(config, start.address)
        if run is not None:
            session.check_data(run)
    run = run or session.create(kind, start.run_name, swaps)
    made = make_plan(config, *session.data.lengths(config.trial))
    in_main = threading.current_thread() is threading.main_thread()  # others may set no handlers
    with (
        only_ours(run.log_file) as console,
        stops_sweep(run, console) if in_main else nullcontext(),
        SweepView(console, run, config, made if kind == "sweep" else made.single) as view,
    ):
        function = run_sweep if kind == "sweep" else run_single
        return run, function(session, run, view, start.address)
