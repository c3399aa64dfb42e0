"""Plans, trials and a speed from which time and money are estimated."""

from neft_ray.config.load import parse_sweep
from neft_ray.cost.pace import Speed
from neft_ray.journal import Report, TrialRecord
from neft_ray.plan import make_plan
from tests.unit.config_files import EXAMPLE

SPEED = Speed({"treatment": 2.0, "control": 1.0}, 10.0, 30.0, "")


def record(number, reports=(), arm="treatment", phase="search", status="running", started=0.0):
    found = [Report(step, {"select_loss": 1.0}, decision, time) for step, time, decision in reports]
    return TrialRecord(
        number, arm, phase, {}, 0, started, num_steps=100, reports=found, status=status
    )


def at(*pairs):
    return [(step, time, "continue") for step, time in pairs]


def planned(*overrides):
    config = parse_sweep(
        EXAMPLE,
        "x.yaml",
        [
            "sweep.searcher={kind: random}",
            "sweep.num_trials=4",
            "training.eval_every_steps=10",
            "sweep.scheduler={kind: none}",
            "sweep.finalists={num: 1, seeds: [1, 2, 3]}",
            *overrides,
        ],
    )
    return config, make_plan(config, num_steps=100)
