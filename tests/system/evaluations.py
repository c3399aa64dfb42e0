"""Questions for a model, and the command line that has it answer them."""

from tests.system.runs import neft_ray

PEOPLE = ("Mia", "Leo", "Olga", "Paul", "Tina", "Hugo")
ROWS = [
    {"instruction": f"What did {name} do with the {thing}?", "output": "Nothing.",
     "generator": "nobody", "dataset": thing}
    for name in PEOPLE for thing in ("lamp", "old boat", "hen")
]  # fmt: skip
SHORT = ("--set", "decoding.max_new_tokens=16")


def evaluate(sweep, *arguments, fails=False, **options):
    done = neft_ray("evaluate", *arguments, "--storage", sweep.storage, **options)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr
