"""The sweep that a careful user would write today, as a script: python -m benchmarks.stock FILE.

Ray Tune with ASHA and `MLflowLoggerCallback`, a function that builds a `TorchTrainer` for each
trial as Ray documents it, and in the worker transformers' `Trainer` with `neftune_noise_alpha`,
grouped by length. FILE holds a `Spec` as JSON. The rows are tokenized already, and the held-out
loss is computed as ours is: over supervised tokens, in batches of similar length.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.rows import IGNORED, labelled, rows_of
from neft_ray.data.split import Split
from neft_ray.data.tokenized import TokenizedData

STEP_FILE, REPORT_FILE = "steps.jsonl", "reports.jsonl"
EVAL_ROWS = 32


@dataclass(frozen=True)
class Spec:
    """A grid of trials.

    Attributes:
        model: A folder.
        data: A folder of tokenized rows.
        output: Where everything is written, also what `STEP_FILE` and `REPORT_FILE` name.
        grace_steps: Of ASHA, which keeps half; 0 stops no trial.
        slots: Trials at the same time, with one core each.
    """

    model: str
    data: str
    output: str
    alphas: tuple[float, ...]
    rates: tuple[float, ...]
    batch: int
    epochs: int
    eval_every: int
    grace_steps: int
    slots: int


def note(spec: Spec, name: str, **fields: Any) -> None:
    """Append an event with its time."""
    with Path(spec.output, name).open("a") as file:
        file.write(json.dumps(fields | {"time": time.time()}) + "\n")


def held_out_loss(model: Any, rows: list[dict[str, list[int]]], collate: Any) -> float:
    """Return nats per supervised token."""
    model.eval()
    total = count = 0.0
    ordered = sorted(rows, key=lambda row: len(row["input_ids"]))
    with torch.no_grad():
        for start in range(0, len(ordered), EVAL_ROWS):
            batch = collate(ordered[start : start + EVAL_ROWS])
            num = int((batch["labels"][:, 1:] != IGNORED).sum())
            total += float(model(**batch).loss) * num
            count += num
    model.train()
    return total / count


def work(config: dict[str, Any]) -> None:
    """Train one trial in a Ray Train worker."""
    from datasets import Dataset
    from ray import train
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    spec = Spec(**config["spec"])
    torch.set_num_threads(1)
    data = TokenizedData.load(Path(spec.data))
    tokenizer = AutoTokenizer.from_pretrained(spec.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    collate, held_out = DataCollatorForSeq2Seq(tokenizer), labelled(rows_of(data, Split.SELECT))

    class Report(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            step = state.global_step
            note(spec, STEP_FILE, trial=config["trial"], step=step)
            if step % spec.eval_every == 0 or step == state.max_steps:
                loss = held_out_loss(more["model"], held_out, collate)
                with tempfile.TemporaryDirectory() as folder:
                    more["model"].save_pretrained(folder)
                    checkpoint = train.Checkpoint.from_directory(folder)
                    train.report({"select_loss": loss, "step": step}, checkpoint=checkpoint)

    with tempfile.TemporaryDirectory() as folder:
        options = TrainingArguments(
            folder,
            per_device_train_batch_size=spec.batch,
            num_train_epochs=spec.epochs,
            learning_rate=config["learning_rate"],
            lr_scheduler_type="cosine",
            warmup_steps=0.03,
            max_grad_norm=1.0,
            neftune_noise_alpha=config["alpha"] or None,
            train_sampling_strategy="group_by_length",
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_steps=spec.eval_every,
            disable_tqdm=True,
        )
        Trainer(
            model=AutoModelForCausalLM.from_pretrained(spec.model, dtype=torch.float32),
            args=options,
            train_dataset=Dataset.from_list(labelled(rows_of(data, Split.TRAIN))),
            data_collator=collate,
            callbacks=[Report()],
        ).train()


def drive(config: dict[str, Any]) -> None:
    """Run one trial as Ray Train, inside of one of Ray Tune."""
    from ray import tune
    from ray.train import CheckpointConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    name = tune.get_context().get_trial_id()
    TorchTrainer(
        work,
        train_loop_config=config | {"trial": name},
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(
            name=f"train-{name}",
            storage_path=config["spec"]["output"],
            callbacks=[TuneReportCallback()],
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    ).fit()


def sweep(spec: Spec) -> None:
    """Run the grid."""
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    class Notes(tune.Callback):  # type: ignore[misc]
        def on_trial_result(
            self, iteration: int, trials: Any, trial: Any, result: Any, **more: Any
        ) -> None:
            note(spec, REPORT_FILE, trial=trial.trial_id, loss=result["select_loss"])

    # A trial's function takes a core by default, which it does not use.
    ray.init(address="local", num_cpus=2 * spec.slots, log_to_driver=False)
    asha = ASHAScheduler(
        time_attr="step", max_t=10**6, grace_period=max(spec.grace_steps, 1), reduction_factor=2
    )
    tune.Tuner(
        drive,
        param_space={
            "alpha": tune.grid_search(list(spec.alphas)),
            "learning_rate": tune.grid_search(list(spec.rates)),
            "spec": asdict(spec),
        },
        tune_config=tune.TuneConfig(
            metric="select_loss",
            mode="min",
            scheduler=asha if spec.grace_steps else FIFOScheduler(),
            max_concurrent_trials=spec.slots,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=spec.output,
            verbose=0,
            callbacks=[
                MLflowLoggerCallback(f"sqlite:///{spec.output}/mlflow.db", experiment_name="stock"),
                Notes(),
            ],
        ),
    ).fit()
    ray.shutdown()


if __name__ == "__main__":
    sweep(Spec(**json.loads(Path(sys.argv[1]).read_text())))
