"""neft_ray: Ray-based hyperparameter sweeps and multi-node training for NEFTune."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "NoiseCallback": "neft_ray.noise.callback",
    "noisy_embeddings": "neft_ray.noise.follow",
    "run_sweep": "neft_ray.api",
    "SweepResult": "neft_ray.api",
}
"""Of the names below, loaded when one is asked for: importing the package costs next to nothing."""

__all__ = ["NoiseCallback", "SweepResult", "__version__", "noisy_embeddings", "run_sweep"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'neft_ray' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
