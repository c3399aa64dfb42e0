"""The command line: one function per command, nothing decided here."""

from neft_ray.cli.app import main

__all__ = ["main"]
