"""What an evaluation found of a trial, put into the trial's run in MLflow."""

from __future__ import annotations

from neft_ray.config.load import load_sweep
from neft_ray.errors import UserError
from neft_ray.pipeline.replies import Replied
from neft_ray.pipeline.sides import Side
from neft_ray.tracking.mirrored import Mirrored
from neft_ray.tracking.mlflow_store import MlflowStore


def record_evaluation(side: Side, set_name: str, found: Replied) -> list[str]:
    """Log the measures of a trial's replies as `evaluation/<set>/…`, at the step of its model.

    Returns:
        What to tell the user: nothing where all went well, or there is no such run.
    """
    if side.run is None or side.trial is None or side.step is None:
        return []
    mirrored = Mirrored.of(side.run.trial(side.trial.number))
    if mirrored is None or side.run.copied_from_file.exists():
        return []
    config = load_sweep(side.run.config_file)
    values = {f"evaluation/{set_name}/{name}": it for name, it in found.measures.items()}
    try:
        experiment = config.mlflow.experiment or config.name
        store = MlflowStore(config.mlflow.uri, side.run.root.parent, experiment)
        store.log_metrics(mirrored.run_id, side.step, values)
    except UserError as error:
        return [f"not in MLflow: {error}; the same command again tries it again"]
    return []
