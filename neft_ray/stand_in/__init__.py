"""Stand-ins: a sweep's model and data replaced by small ones of the same kind, to try it all."""

from neft_ray.stand_in.make import StandIn, stand_in_for

__all__ = ["StandIn", "stand_in_for"]
