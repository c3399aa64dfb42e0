"""What may change when a run goes on: nothing that would change what was decided."""

from __future__ import annotations

from typing import Any

from neft_ray.config.arm_space import num_trials
from neft_ray.config.base import flat
from neft_ray.config.load import dump_sweep, load_sweep
from neft_ray.config.schedulers import Halving, Hyperband, Population
from neft_ray.config.sweep import SweepConfig
from neft_ray.errors import Problem, UserError, bad_input
from neft_ray.files import write_whole
from neft_ray.run_directory import RunDirectory

FREE = (
    *("sweep.slots", "sweep.keep_checkpoints", "sweep.max_failures", "storage"),
    "training.async_checkpoints",
)
"""Settings that change no result."""
EXTENDING = (
    *("sweep.num_trials", "sweep.space.", "sweep.constraints", "sweep.first"),
    *("sweep.finalists.", "sweep.budget.", "sweep.price."),
)
"""Settings and sections that change what comes next, and nothing that was: a finished sweep gets
more trials, a narrower space, other finalists, a larger budget."""
FIXED_IN_STEP = ("sweep.num_trials", "sweep.space.")
"""Of these, what a scheduler that compares all trials in step cannot change on the way."""


def check_resume(run: RunDirectory, kind: str, config: SweepConfig) -> dict[str, Any]:
    """Refuse to go on with what contradicts the run so far.

    Returns:
        What extends the run: its settings as they are now, by dotted key.

    Raises:
        UserError: Naming every key that changed and may not.
    """
    if run.manifest["kind"] != kind:
        other = run.manifest["kind"]
        raise bad_input(run.root, f"was started by `neft-ray {other}`", "go on with that command")
    earlier = load_sweep(run.config_file)
    before = flat(earlier.model_dump(mode="json"))
    now = flat(config.model_dump(mode="json"))
    changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    extending = EXTENDING if kind == "sweep" else ()
    in_step = isinstance(config.sweep.scheduler, Halving | Hyperband | Population)
    fixed: tuple[str, ...] = FIXED_IN_STEP if in_step else ()
    if in_step and _arm_sizes(earlier) != _arm_sizes(config):
        fixed += ("sweep.constraints",)
    problems = []
    for key in changed:
        what = f"was {before.get(key)!r} when the run started, is {now.get(key)!r}"
        remedy = "start a new run for another configuration"
        if key.startswith(extending) and key.startswith(fixed):
            remedy = f"{config.sweep.scheduler.kind} compares all trials in step; start a new run "
            remedy += f"with sweep.warm_start: [{run.root}]"
        elif key in FREE or key.startswith(extending):
            continue
        problems.append(Problem(f"{run.root}: {key}", what, remedy))
    if problems:
        raise UserError(problems)
    return {key: now.get(key) for key in changed if key.startswith(extending)}


def adopt(run: RunDirectory, config: SweepConfig) -> None:
    """Replace the run's resolved configuration, all or nothing."""
    write_whole(run.config_file, dump_sweep(config))


def _arm_sizes(config: SweepConfig) -> list[int]:
    """Return how many trials each arm has, which constraints on listed points change too."""
    return [num_trials(config, arm) for arm in config.sweep.arms]
