"""The disk that checkpoints and models take, and a storage without room."""

import pytest

from neft_ray.cost.disk import checkpoint_bytes, disk_need, disk_problem
from neft_ray.memory.predict import Predictor
from tests.unit.cost_runs import planned

MEASURED = {  # bytes of a checkpoint and of the model of real runs of the built-in base, 430,752
    "{kind: ddp}": 5_200_862,
    "{kind: fsdp}": 5_430_513,
    "{kind: deepspeed, zero_stage: 1}": 6_918_734,
    "{kind: deepspeed, zero_stage: 2}": 6_918_798,
    "{kind: deepspeed, zero_stage: 3}": 5_199_563,
}
BUILTIN = ("model={path: builtin:base}", "data={train: builtin:tales, template: question}")


@pytest.mark.parametrize(("strategy", "measured"), MEASURED.items())
def test_a_checkpoint_is_as_large_as_predicted_from_the_configuration(strategy, measured):
    config, plan = planned(*BUILTIN, f"strategy={strategy}")
    sizes = Predictor(config.trial).sizes
    assert checkpoint_bytes(config, sizes.trained) == pytest.approx(measured, rel=0.15)
    one = disk_need(config, plan, sizes.trained, sizes.all, slots=1)
    assert one.models == pytest.approx(3 * 1_787_423, rel=0.15)


def test_the_best_and_the_live_checkpoints_count(tmp_path):
    config, plan = planned(f"storage={tmp_path}", "sweep.keep_checkpoints=3")
    assert disk_need(config, plan, 100, 1000, slots=4).num_checkpoints == 3 + 1 + 8
    config, plan = planned(f"storage={tmp_path}", "sweep.objective.weights={answer_repetition: 1}")
    assert disk_need(config, plan, 100, 1000, slots=4).num_checkpoints == 3 + 1 + 8 + 5
    halving = "sweep.scheduler={kind: halving, grace_steps: 10}"
    config, plan = planned(f"storage={tmp_path}", halving)
    assert disk_need(config, plan, 100, 1000, slots=4).num_checkpoints == 3 + 1 + 8 + 8
    remote, plan = planned("mlflow.uri=http://host", "model.dtype=bfloat16")
    assert disk_need(remote, plan, 100, 1000, slots=1).models == 2 * 2 * 1000


def test_a_storage_without_room_is_refused_with_a_remedy(tmp_path):
    config, plan = planned()
    need = disk_need(config, plan, 10**9, 10**9, slots=1)
    assert disk_problem(tmp_path, need, free=1e12) is None
    problem = disk_problem(tmp_path / "new", need, free=5e9)
    assert "needs about 78.0 GB, and 5.0 GB are free" in str(problem)
    assert "neft-ray gc" in str(problem)
