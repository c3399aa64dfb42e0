"""The sweep file of the design, changed at will, and what is wrong with it."""

from pathlib import Path

from neft_ray.config.load import parse_sweep
from neft_ray.errors import UserError

FILE = Path(__file__).with_name("example.yaml")
EXAMPLE = FILE.read_text()
RANGE = "optimizer.learning_rate: {loguniform: [1e-5, 2e-4]}"
"""The line of the learning rate in the example's space."""
LISTED = "optimizer.learning_rate: {choice: [1e-5, 1e-4]}"
GRID = ("sweep.searcher={kind: grid}", "sweep.num_trials=null")


def changed(*changes):
    """Return the example with pieces of its text replaced, each of which occurs once."""
    text = EXAMPLE
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def problems(text, *options):
    """Return what is wrong with a sweep file, one message each."""
    try:
        parse_sweep(text, "x.yaml", options)
    except UserError as error:
        return [str(problem) for problem in error.problems]
    return []
