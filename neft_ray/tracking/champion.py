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
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from platform import python_version

from mlflow import MlflowClient, pyfunc
from mlflow.entities import LoggedModelOutput
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import ColSpec, Schema

from neft_ray.tracking.mlflow_store import MlflowStore

CHAMPION, CHALLENGER = "champion", "challenger"
KEY_TAG, LOSS_TAG = "neft_ray.key", "neft_ray.select_loss"
HASH_TAG = "neft_ray.data_hash"
NOT_TOKENIZER = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", "*.md")


@dataclass(frozen=True)
class Candidate:
    """A model that may become the champion."""

    folder: Path
    """A Hugging Face folder with weights and tokenizer; its files are sent as they are."""
    name: str
    """The registered model, created if need be."""
    run_id: str
    """The run that made it."""
    key: str
    """Names this model for ever: it is registered once."""
    select_loss: float
    data_hash: str
    """What the loss was measured on: other data cannot be compared."""
    description: str
    """Shown with the version."""
    tags: Mapping[str, str]
    """Further ones."""

    @property
    def all_tags(self) -> dict[str, str]:
        """What is kept with the version, for people and for the next comparison."""
        compared = {KEY_TAG: self.key, LOSS_TAG: repr(self.select_loss), HASH_TAG: self.data_hash}
        return {**self.tags, **compared}


@dataclass(frozen=True)
class Registered:
    """A registered version, its alias, and why it has that one."""

    version: str
    alias: str
    remark: str


def register(store: MlflowStore, candidate: Candidate) -> Registered:
    """Store a model as the next version, unless it is one, and give it an alias.

    `champion` is whatever has the lowest select loss on its data; what does not beat it, or cannot
    be compared with it, becomes the `challenger`. Load it with
    `mlflow.transformers.load_model("models:/<name>@champion")`.

    Raises:
        UserError: If MLflow is away or refuses.
    """
    client, name = store.client, candidate.name
    with store.explained():
        _ensure_registered(store, name)
        known = client.search_model_versions(
            f"name = '{name}' and tags.`{KEY_TAG}` = '{candidate.key}'"
        )
        champion = _version_with(client, name, CHAMPION)
        own = str(known[0].version) if known else None
        if champion is not None and own == str(champion.version):
            return Registered(str(own), CHAMPION, f"{name} version {own} is the champion.")
        wins, remark = _compared(candidate, champion)
        version = own or _create_version(store, candidate, f"{candidate.description}\n\n{remark}")
        alias = CHAMPION if wins else CHALLENGER
        client.set_registered_model_alias(name, alias, version)
        challenger = _version_with(client, name, CHALLENGER)
        if wins and challenger is not None and str(challenger.version) == version:
            client.delete_registered_model_alias(name, CHALLENGER)
    return Registered(version, alias, f"{name} version {version} {remark}")


def _compared(candidate: Candidate, champion: ModelVersion | None) -> tuple[bool, str]:
    """Return whether the candidate is the champion now, and why."""
    if champion is None:
        return True, "is the champion, for there was none."
    where = f"the champion, version {champion.version}"
    loss, data = champion.tags.get(LOSS_TAG), champion.tags.get(HASH_TAG)
    if loss is None or data != candidate.data_hash:
        what = f"was selected on other data (hash {data or 'unknown'}, not {candidate.data_hash})"
        return False, f"is the challenger: it cannot be compared with {where}, which {what}."
    ours, theirs = candidate.select_loss, float(loss)
    if ours < theirs:
        return True, f"is the champion: its select loss {ours:.4f} beats {theirs:.4f} of {where}."
    return (
        False,
        f"is the challenger: its select loss {ours:.4f} is not below {theirs:.4f} of {where}.",
    )


def _version_with(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    version = client.get_registered_model(name).aliases.get(alias)
    return None if version is None else client.get_model_version(name, version)


def _create_version(store: MlflowStore, candidate: Candidate, description: str) -> str:
    client, run_id, tags = store.client, candidate.run_id, candidate.all_tags
    plain_name = candidate.name.replace(".", "-")  # of this name MLflow takes no dot
    model = client.create_logged_model(store.experiment_id, plain_name, run_id, tags)
    with tempfile.TemporaryDirectory() as wrapping:
        _wrap(candidate.folder, Path(wrapping), run_id, model.model_id)
        client.log_model_artifacts(model.model_id, wrapping)
    client.log_model_artifacts(model.model_id, str(candidate.folder), "model")
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    made = client.create_model_version(
        candidate.name,
        model.artifact_location,  # `models:/…` would be looked up in MLflow's global store
        run_id,
        tags,
        description=description,
        model_id=model.model_id,
    )
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
