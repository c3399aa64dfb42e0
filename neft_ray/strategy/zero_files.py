"""DeepSpeed's checkpoints without its engine: another number of workers, or a whole model."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from neft_ray.strategy.base import reading, trained
from neft_ray.strategy.zero_setup import into_log, quiet_deepspeed

TAG = "zero"
"""The folder that DeepSpeed makes inside a checkpoint."""


def known() -> tuple[type, ...]:
    """Return the classes of DeepSpeed that its checkpoints hold."""
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    return LossScaler, ZeroStageEnum, fragment_address


def check(folder: Path, rank: int = 0, world: int = 1) -> None:
    """Refuse a checkpoint that holds code, without reading its tensors.

    DeepSpeed's workers wait for one that fails while it reads; so they look before they read.

    Args:
        folder: The checkpoint.
        rank: Of those that share the work: this one looks at every `world`-th file.
        world: Their number.

    Raises:
        UserError: If it does, or cannot be read.
    """
    for file in sorted((folder / TAG).glob("*.pt"))[rank::world]:
        with reading(file, *known()):
            torch.load(file, map_location="meta", mmap=True, weights_only=True)


def num_workers(folder: Path) -> int:
    """Return how many workers wrote a checkpoint."""
    return len(list((folder / TAG).glob("*_optim_states.pt")))


@contextmanager
def patient(writer: Any) -> Iterator[list[Path]]:
    """Let DeepSpeed's writer of files fail only at the end, past every barrier between its files.

    Yields:
        The files that were written.

    Raises:
        OSError: Or a `RuntimeError`, the first failure.
    """
    written: list[Path] = []
    failures: list[OSError | RuntimeError] = []
    save = writer.save

    def save_or_note(state_dict: Any, path: str) -> None:
        try:
            save(state_dict, path)
        except (OSError, RuntimeError) as error:
            failures.append(error)
        else:
            written.append(Path(path))

    writer.save = save_or_note
    try:
        yield written
    finally:
        del writer.save
    if failures:
        raise failures[0]


def to_universal(folder: Path, target: Path) -> None:
    """Convert a checkpoint for any number of workers, in one process.

    Args:
        folder: The checkpoint; it is not changed.
        target: A folder to make, with the converted checkpoint in it.

    Raises:
        UserError: If it cannot be read.
    """
    from deepspeed.checkpoint.ds_to_universal import main

    with reading(folder, *known()), into_log():
        main(
            Namespace(
                input_folder=str(folder / TAG),
                output_folder=str(target / TAG),
                num_extract_workers=1,
                num_merge_workers=1,
                keep_temp_folder=False,
                strict=True,
                inject_missing_state=True,  # stages 1 and 2 need it
            )
        )


@torch.no_grad()
def read_weights(folder: Path, model: nn.Module) -> None:
    """Copy a checkpoint's weights into a whole model, without a process group."""
    quiet_deepspeed()
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    check(folder)
    with reading(folder, *known()), into_log():
        states = get_fp32_state_dict_from_zero_checkpoint(
            str(folder), TAG, exclude_frozen_parameters=True, lazy_mode=True
        )
        for name, parameter in trained(model).items():
            parameter.copy_(states[f"model.{name}"].contiguous())
