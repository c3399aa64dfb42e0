"""How DeepSpeed is set up: its settings, its log, and nothing compiled that is not asked for."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any
from warnings import filterwarnings

from neft_ray.config.strategy import DeepspeedConfig

logger = logging.getLogger("neft_ray")

REDUCE_BUCKET_ELEMENTS = 500_000_000
"""DeepSpeed's default for `reduce_bucket_size`."""


def quiet_deepspeed() -> None:
    """Import DeepSpeed, and send what it says to this package's log."""
    with into_log():
        from deepspeed.utils.logging import logger as its_logger
    its_logger.handlers[:] = logger.handlers[:] or [logging.NullHandler()]
    filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)


def prepare_deepspeed() -> None:
    """Import DeepSpeed and start its communication, on the process group that there is.

    Its own CPU collective, which would be compiled at once and needs a compiler, is switched off:
    gloo does the same. No environment variable does this (`build_shm_op` in deepspeed/comm/torch).
    """
    quiet_deepspeed()
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    with into_log():
        deepspeed.init_distributed(dist_init_required=False)


@contextmanager
def into_log() -> Iterator[None]:
    """Keep what DeepSpeed prints off the terminal; it is in the log where something fails."""
    printed, level = io.StringIO(), logging.WARNING
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            yield
        level = logging.DEBUG
    finally:
        for line in printed.getvalue().splitlines():
            logger.log(level, "deepspeed: %s", line)


def reduce_bucket_elements(num_trained: int) -> int:
    """Return the size of the buffer in which gradients are sent, at most DeepSpeed's own.

    DeepSpeed allocates the whole buffer however small the model is.
    """
    return min(REDUCE_BUCKET_ELEMENTS, num_trained)


def engine_config(config: DeepspeedConfig, clip_norm: float | None) -> dict[str, Any]:
    """Return what `deepspeed.initialize` is given.

    Micro-steps are ours: as many backward passes as a step has micro-batches, then one step.
    """
    zero: dict[str, Any] = {
        "stage": config.zero_stage,
        "overlap_comm": False,
        "contiguous_gradients": True,
        "memory_efficient_linear": False,  # it would replace torch's for good
    }
    for part, place in (
        ("offload_optimizer", config.offload_optimizer),
        ("offload_param", config.offload_params),
    ):
        if place != "none":
            zero[part] = {"device": place}
        if place == "nvme":
            zero[part]["nvme_path"] = config.nvme_folder
    settings: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": clip_norm or 0.0,
        "steps_per_print": 10**9,
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,
    }
    if config.params_dtype == "bfloat16":
        settings["bf16"] = {"enabled": True}
    return settings
