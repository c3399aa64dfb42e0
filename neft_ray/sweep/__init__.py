"""Sweeps: what is tried next, what is stopped, and the slots that trials run in, on Ray Tune."""
