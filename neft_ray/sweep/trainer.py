"""A TorchTrainer without the processes around its workers that a slot has no use for.

Ray Train runs the controller of a worker group in an actor of its own, one more actor that would
split Ray data sets, and one that removes the placement group of a controller that was killed. A
slot is an actor already, reads its own data, and removes its own placement groups: without them
a sweep's cold start takes a quarter less processor time, and a slot some 700 MB less. This reaches
into Ray Train, whose version pyproject.toml bounds; tests/system/test_leaks.py holds it.
"""

from __future__ import annotations

import asyncio
from typing import Any

import ray
from ray.train import Result
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import ScalingPolicy

WITHOUT = (DatasetsCallback, PlacementGroupCleanerCallback)


class SlotTrainer(TorchTrainer):  # type: ignore[misc]
    """Runs its controller in the actor that calls `fit`; elsewhere it is a TorchTrainer."""

    policy: ScalingPolicy | None = None
    """Decides how many workers there are, in place of Ray Train's own."""

    def _initialize_and_run_controller(self, **settings: Any) -> Result:
        if self.policy is not None:
            settings["scaling_policy"] = self.policy
        if ray.get_runtime_context().get_actor_id() is None:  # nobody whom workers could call
            return super()._initialize_and_run_controller(**settings)
        settings["callbacks"] = [c for c in settings["callbacks"] if not isinstance(c, WITHOUT)]
        controller = TrainController(**settings)
        asyncio.run(controller.run())
        return controller.get_result()
