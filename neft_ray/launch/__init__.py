"""Sweeps on a cluster of machines: submitted, watched, stopped and brought home by ssh."""
