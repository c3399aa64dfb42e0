"""Ready-made views of a sweep in MLflow's UI: its trials as a table, best first, and as charts.

The UI keeps a view that people share as a tag of the experiment, and shows it to whoever opens an
address with its key; here such tags are written for every sweep.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from neft_ray.tracking.mlflow_store import MlflowStore

VIEW_TAG = "mlflow.sharedViewState."
CHARTS = "-charts"
LOSSES = ("loss/best_select", "loss/select", "loss/report")
TAGS = ("neft_ray.arm", "neft_ray.phase", "neft_ray.status")


def share_views(store: MlflowStore, run_name: str, searched: Sequence[str]) -> None:
    """Make the views of a sweep; making them again changes nothing.

    Args:
        store: Where the sweep is recorded.
        run_name: The sweep's run, as the tag `neft_ray.run` of its trials has it.
        searched: Dotted keys of what is searched: columns of the table.

    Raises:
        UserError: If MLflow is away or refuses.
    """
    columns = [f"metrics.`{name}`" for name in LOSSES]
    columns += [f"params.`{key}`" for key in searched]
    columns += [f"tags.`{name}`" for name in TAGS]
    table: dict[str, Any] = {
        "searchFilter": f"tags.`neft_ray.run` = '{run_name}' AND tags.`neft_ray.arm` LIKE '%'",
        "orderByKey": f"metrics.`{LOSSES[0]}`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": columns,
        "runsHiddenMode": "FIRST_20_RUNS",
    }
    charts = table | {"compareRunsMode": "CHART"}
    with store.explained():
        for name, view in ((run_name, table), (run_name + CHARTS, charts)):
            store.client.set_experiment_tag(
                store.experiment_id, VIEW_TAG + name, json.dumps(view, separators=(",", ":"))
            )


def view_links(run_name: str, experiment_id: str) -> dict[str, str]:
    """Return the views' addresses by what they show, to be appended to that of the UI."""
    place = f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey="
    charts = f"{run_name}{CHARTS}&compareRunsMode=CHART"
    return {"trials": place + run_name, "charts": place + charts}
