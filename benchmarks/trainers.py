"""The trainers that a user would pick instead, each at its best documented setting."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer

from benchmarks.rows import Rows, labelled

ALPHA = 5.0


def load(folder: Path) -> tuple[Any, Any]:
    """Return a model in float32 and its tokenizer, which can pad."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), tokenizer


def _options(folder: str, rows_per_step: int) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "per_device_train_batch_size": rows_per_step,
        "num_train_epochs": 1,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
        "neftune_noise_alpha": ALPHA,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 1000,
        "disable_tqdm": True,
    }


def _timed(trainer: Any) -> float:
    start = time.perf_counter()
    trainer.train()
    return time.perf_counter() - start


def _trl(**more: Any) -> Callable[[Path, Rows, int, int], float]:
    def run(folder: Path, rows: Rows, rows_per_step: int, max_tokens: int) -> float:
        model, tokenizer = load(folder)
        data = Dataset.from_dict(
            {
                "input_ids": [tokens for tokens, _ in rows],
                "completion_mask": [[int(flag) for flag in flags] for _, flags in rows],
            }
        )
        with tempfile.TemporaryDirectory() as output:
            options = SFTConfig(
                **_options(output, rows_per_step),
                max_length=max_tokens,
                completion_only_loss=True,
                **more,
            )
            return _timed(
                SFTTrainer(
                    model=model, args=options, train_dataset=data, processing_class=tokenizer
                )
            )

    return run


def _transformers(folder: Path, rows: Rows, rows_per_step: int, max_tokens: int) -> float:
    model, tokenizer = load(folder)
    data = Dataset.from_list(labelled(rows))
    with tempfile.TemporaryDirectory() as output:
        options = TrainingArguments(
            **_options(output, rows_per_step), train_sampling_strategy="group_by_length"
        )
        collator = DataCollatorForSeq2Seq(tokenizer)
        return _timed(
            Trainer(model=model, args=options, train_dataset=data, data_collator=collator)
        )


PEERS: dict[str, Callable[[Path, Rows, int, int], float]] = {
    "TRL, as by default": _trl(),
    "TRL, packing": _trl(packing=True),
    "TRL, packing cut anywhere": _trl(packing=True, packing_strategy="wrapped"),
    "TRL, grouped by length": _trl(train_sampling_strategy="group_by_length"),
    "transformers' Trainer, grouped by length": _transformers,
}
