"""The noise under transformers' Trainer, and so TRL's, in place of `neftune_noise_alpha`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Literal

from transformers import Trainer, TrainerCallback

from neft_ray.noise.follow import Place, following
from neft_ray.noise.hook import EmbeddingNoise
from neft_ray.noise.segments import NoiseError


class NoiseCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Noises every training step of the Trainer that it is given to, and nothing else.

    The hooks are on the model inside `Trainer.training_step` alone, forward and backward: whatever
    ends a training, none is left. `args.neftune_noise_alpha`, where a hyper-parameter search or
    the user set it after the Trainer was made, replaces `alpha`, in that training and in later
    ones. The noise is keyed by (seed, optimizer step, micro-batch of the step, rank, position in
    the micro-batch), so that a training resumed from a checkpoint sees the noise of one that was
    not interrupted. What was measured of the noise since the last log joins the training logs; see
    `metrics_of`.

    Attributes:
        noise: The noise of the present or last training; None before the first.
    """

    def __init__(
        self,
        alpha: float,
        seed: int | None = None,
        distribution: str = "uniform",
        relative_to: Literal["absolute", "embedding_rms"] = "absolute",
    ) -> None:
        """Prepare the noise; `Trainer(..., callbacks=[this])` or `add_callback` uses it.

        Args:
            alpha: The paper's α: the noise of one sequence has a norm of α/√3.
            seed: In [0, 2⁶⁴); None: that of the training arguments.
            distribution: `uniform`, `gaussian` or `bernoulli`.
            relative_to: See `EmbeddingNoise`.
        """
        self.noise: EmbeddingNoise | None = None
        self._alpha, self._seed = alpha, seed
        self._distribution, self._relative_to = distribution, relative_to
        self._num_forwards = 0
        self._leave: Callable[[], None] = lambda: None

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Take over the Trainer's training step, with the α that holds now.

        Raises:
            NoiseError: If the model cannot be noised, or already is.
        """
        if args.n_gpu > 1:
            raise NoiseError(
                f"{args.n_gpu} GPUs in one process (DataParallel) run the model in threads, which "
                "the noise cannot tell apart: start one process per GPU with torchrun, or show one "
                "GPU with CUDA_VISIBLE_DEVICES"
            )
        self._leave()  # an earlier training that an exception ended
        trainer = _trainer_that_calls()
        alpha = self._alpha if args.neftune_noise_alpha is None else args.neftune_noise_alpha
        seed = args.seed if self._seed is None else self._seed
        noise = EmbeddingNoise(
            alpha, seed, distribution=self._distribution, relative_to=self._relative_to
        )
        model = trainer.accelerator.unwrap_model(trainer.model)
        with following(noise, model):
            pass  # refuses here what it would refuse in the first step
        self.noise, self._num_forwards = noise, 0
        self._take_over(trainer, state, noise, model)

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Begin to count the forwards of a step."""
        self._num_forwards = 0

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float], **given: Any
    ) -> None:
        """Add what was measured of the noise to a log of training."""
        if self.noise is not None and "loss" in logs:
            measured = self.noise.pop_metrics()
            logs.update(measured)
            state.log_history[-1].update(measured)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Give the Trainer its own training step back."""
        self._leave()

    def _take_over(self, trainer: Any, state: Any, noise: EmbeddingNoise, model: Any) -> None:
        own = vars(trainer).get("training_step")
        step = trainer.training_step

        def place_of_next() -> Place:
            self._num_forwards += 1
            return trainer.state.global_step + 1, self._num_forwards

        @wraps(step)
        def noised_step(*args: Any, **kwargs: Any) -> Any:
            if trainer.state is not state:  # another training, which did not ask for noise
                return step(*args, **kwargs)
            with following(noise, model, place_of_next):
                return step(*args, **kwargs)

        def leave() -> None:
            if vars(trainer).get("training_step") is noised_step:
                del trainer.training_step
                if own is not None:
                    trainer.training_step = own
            self._leave = lambda: None

        trainer.training_step = noised_step
        self._leave = leave


def _trainer_that_calls() -> Any:
    """Return the Trainer whose method is on the stack: callbacks are not told whose they are."""
    frame = inspect.currentframe()
    while frame is not None:
        if isinstance(caller := frame.f_locals.get("self"), Trainer):
            return caller
        frame = frame.f_back
    raise NoiseError("no transformers Trainer calls this callback: use noisy_embeddings instead")
