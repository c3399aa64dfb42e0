"""The best model in MLflow's registry, loadable with `mlflow.transformers` and `mlflow.pyfunc`.

`mlflow.transformers.log_model` is not used: with transformers 5.23 it takes no folder, only a model
in memory, which a driver has no room for; it also asks the hub for a model card. So the two small
files that make a Hugging Face folder an MLflow model are written here.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from platform import python_version

from mlflow import pyfunc
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import ColSpec, Schema

from neft_ray.tracking.mlflow_store import MlflowStore

ALIAS = "champion"
NOT_TOKENIZER = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", "*.md")


def register_champion(
    store: MlflowStore,
    folder: Path,
    name: str,
    run_id: str,
    description: str,
    tags: Mapping[str, str],
) -> str:
    """Store a model as the next version of a registered model and point `champion` at it.

    Load it with `mlflow.transformers.load_model("models:/<name>@champion")`.

    Args:
        store: Where to.
        folder: A Hugging Face folder with weights and tokenizer; its files are sent as they are.
        name: The registered model, created if need be.
        run_id: The run that made it.
        description: Shown with the version.
        tags: Of the version.

    Returns:
        The version, such as "3".

    Raises:
        UserError: If MLflow is away or refuses.
    """
    client = store.client
    with store.explained():
        model = client.create_logged_model(store.experiment_id, ALIAS, run_id, dict(tags))
        with tempfile.TemporaryDirectory() as wrapping:
            _wrap(folder, Path(wrapping), run_id, model.model_id)
            client.log_model_artifacts(model.model_id, wrapping)
        client.log_model_artifacts(model.model_id, str(folder), "model")
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        _ensure_registered(store, name)
        made = client.create_model_version(
            name,
            model.artifact_location,  # `models:/…` would be looked up in MLflow's global store
            run_id,
            dict(tags),
            description=description,
            model_id=model.model_id,
        )
        client.set_registered_model_alias(name, ALIAS, made.version)
    return str(made.version)


def _ensure_registered(store: MlflowStore, name: str) -> None:
    try:
        store.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _wrap(folder: Path, target: Path, run_id: str, model_id: str) -> None:
    """Write what turns a Hugging Face folder, to be sent as `model/`, into an MLflow model."""
    config = json.loads((folder / "config.json").read_bytes())
    shutil.copytree(
        folder, target / "components" / "tokenizer", ignore=shutil.ignore_patterns(*NOT_TOKENIZER)
    )
    text = Schema([ColSpec("string")])
    model = Model(run_id=run_id, model_id=model_id, signature=ModelSignature(text, text))
    model.add_flavor(
        "transformers",
        transformers_version=version("transformers"),
        task="text-generation",
        instance_type="TextGenerationPipeline",
        pipeline_model_type=config["architectures"][0],
        source_model_name=folder.name,
        model_binary="model",
        components=["tokenizer"],
        tokenizer_type="AutoTokenizer",
    )
    pyfunc.add_to_model(model, loader_module="mlflow.transformers", python_env="python_env.yaml")
    model.save(str(target / "MLmodel"))
    packages = [f"{name}=={_release(name)}" for name in ("mlflow", "torch", "transformers")]
    (target / "requirements.txt").write_text("\n".join(packages) + "\n")
    environment = {"python": python_version(), "dependencies": ["-r requirements.txt"]}
    (target / "python_env.yaml").write_text(json.dumps(environment))  # JSON is YAML


def _release(package: str) -> str:
    """Return a package's version without its build, such as the `+cpu` of torch."""
    return version(package).partition("+")[0]
