"""neft_ray: Ray-based hyperparameter sweeps and multi-node training for NEFTune."""

__version__ = "0.1.0"
