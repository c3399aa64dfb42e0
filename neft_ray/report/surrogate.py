"""The loss over α × learning rate, with how sure one may be: a Gaussian process of the trials."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neft_ray.report.arms import Arm
from neft_ray.report.fidelity import common_fidelity

FEWEST_TRIALS = 8
GRID = 60
OUTLYING = 3.0
"""A loss that lies so many times the quartiles' distance above the upper one is taken as there."""
Floats = NDArray[np.float64]


class NoSurface(Exception):
    """There is no surface; the message says why."""


@dataclass(frozen=True)
class Surface:
    """The expected select loss between the trials, and its standard deviation."""

    alphas: Floats
    """[A]"""
    rates: Floats
    """[R], evenly spaced in the logarithm."""
    mean_AR: Floats
    std_AR: Floats
    """Of the expected loss; what trials scatter around it is not in it."""
    noise_std: float
    """That scatter."""
    prior_std: float
    """What one would say without a trial nearby."""
    points: tuple[tuple[str, float, float, float], ...]
    """Name, α, learning rate and loss of every trial it is made from."""
    num_capped: int
    """Trials whose loss is so high that it is entered lower than it is."""
    basis: str
    """Which trials at which fidelity."""


def surface_of(arm: Arm) -> Surface:
    """Fit a Gaussian process to the trials of an arm's search.

    Its covariance is Matérn 5/2 over α and the logarithm of the learning rate, each with a length
    scale of its own, plus the noise of single trials; scales and noise maximise the likelihood.

    Raises:
        NoSurface: If there are too few trials, or α or the learning rate does not vary.
    """
    found = common_fidelity(arm.trials, FEWEST_TRIALS)
    if len(found.points) < FEWEST_TRIALS:
        raise NoSurface(found.too_few(FEWEST_TRIALS))
    alphas = np.array([trial.alpha for trial, _ in found.points])
    rates = np.array([trial.learning_rate for trial, _ in found.points])
    for name, values in (("α", alphas), ("the learning rate", rates)):
        if np.ptp(values) == 0:
            raise NoSurface(f"{name} is {values[0]:g} in all of them")
    losses = np.array([loss for _, loss in found.points])
    low, high = np.quantile(losses, (0.25, 0.75))
    cap = high + OUTLYING * (high - low)
    capped = np.minimum(losses, cap)
    if np.ptp(capped) == 0:
        raise NoSurface("their losses are equal")
    axes = (
        np.linspace(alphas.min(), alphas.max(), GRID),
        np.geomspace(rates.min(), rates.max(), GRID),
    )
    mean, std, noise, prior = _fit(np.column_stack([alphas, np.log(rates)]), capped, axes)
    return Surface(
        alphas=axes[0],
        rates=axes[1],
        mean_AR=mean,
        std_AR=std,
        noise_std=noise,
        prior_std=prior,
        points=tuple(
            (trial.name, trial.alpha, trial.learning_rate, loss) for trial, loss in found.points
        ),
        num_capped=int((losses > cap).sum()),
        basis=found.text,
    )


def _fit(
    inputs_N2: Floats, losses_N: Floats, axes: tuple[Floats, Floats]
) -> tuple[Floats, Floats, float, float]:
    """Return mean and standard deviation on the grid, and those of the noise and of the prior."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    origin, extent = inputs_N2.min(axis=0), np.ptp(inputs_N2, axis=0)
    centre, spread = losses_N.mean(), losses_N.std()
    kernel = ConstantKernel(1.0, (0.05, 20.0)) * Matern([0.5, 0.5], (0.1, 10.0), nu=2.5)
    kernel += WhiteKernel(0.1, (1e-4, 2.0))
    process = GaussianProcessRegressor(kernel, n_restarts_optimizer=4, random_state=0)
    with warnings.catch_warnings():
        # A scale at its bound is an answer: this setting does not matter, or trials do not scatter.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit((inputs_N2 - origin) / extent, (losses_N - centre) / spread)
    grid = np.stack(np.meshgrid(axes[0], np.log(axes[1]), indexing="ij"), axis=-1).reshape(-1, 2)
    mean, std = process.predict((grid - origin) / extent, return_std=True)
    noise = process.kernel_.k2.noise_level
    std = np.sqrt(np.maximum(std**2 - noise, 0))
    shape = (len(axes[0]), len(axes[1]))
    prior = float(np.sqrt(process.kernel_.k1.k1.constant_value) * spread)
    return (
        (centre + spread * mean).reshape(shape),
        (spread * std).reshape(shape),
        float(np.sqrt(noise) * spread),
        prior,
    )
