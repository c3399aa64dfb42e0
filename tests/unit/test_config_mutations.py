"""Any damage to a sweep file gives a config or problems with a place, never another exception."""

import copy
import json
import math
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from neft_ray.config.load import dump_sweep, load_sweep, parse_sweep
from neft_ray.config.places import option_place
from neft_ray.config.sweep import SweepConfig
from neft_ray.errors import UserError

EXAMPLE = """\
name: x
model: {path: m, dtype: float32}
data:
  train: d
  split: {seed: 0}
noise: {alpha: 5}
training: {epochs: 3, eval_every_steps: 50}
sweep:
  space:
    noise.alpha: {choice: [5, 10]}
    optimizer.learning_rate: {loguniform: [1e-5, 2e-4]}
  control: {noise.alpha: 0}
  searcher: {kind: optuna, seed: 0}
  scheduler: {kind: asha, grace_steps: 100}
  num_trials: 16
  finalists: {seeds: [0, 1]}
"""
VALUES = {
    "name": "x",
    "model": {"path": "m", "dtype": "float32"},
    "data": {"train": "d", "split": {"seed": 0}},
    "noise": {"alpha": 5},
    "training": {"epochs": 3, "eval_every_steps": 50},
    "sweep": {
        "space": {
            "noise.alpha": {"choice": [5, 10]},
            "optimizer.learning_rate": {"loguniform": [1e-5, 2e-4]},
        },
        "control": {"noise.alpha": 0},
        "searcher": {"kind": "optuna", "seed": 0},
        "scheduler": {"kind": "asha", "grace_steps": 100},
        "num_trials": 16,
        "finalists": {"seeds": [0, 1]},
    },
}

JARGON = re.compile(r"Input should|function-after|pydantic|NoneType|<class|Config\b|tagged-union")
BREAKS = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
THOROUGH = settings(max_examples=1000, derandomize=True, deadline=None, database=None)


def check(text, *options):
    """Load a text: the outcome is a config that survives a round trip, or located problems."""
    try:
        sweep = parse_sweep(text, "x.yaml", options)
    except UserError as error:
        problems = error.problems
        assert problems
        assert len(set(problems)) == len(problems)
        for problem in problems:
            check_place(problem.where, text, options)
            assert problem.what
            assert len(str(problem).splitlines()) == 1
            assert problem.remedy
            assert not JARGON.search(f"{problem.what}; {problem.remedy}")
    else:
        assert isinstance(sweep, SweepConfig)
        assert parse_sweep(dump_sweep(sweep), "dumped") == sweep


def check_place(where, text, options):
    if not where.startswith(tuple(map(option_place, options))):
        place = re.match(r"x\.yaml:(\d+)(: .+)?\Z", where)
        assert place, where
        assert 1 <= int(place[1]) <= len(BREAKS.findall(text)) + 1


def test_the_undamaged_file_loads():
    assert parse_sweep(EXAMPLE, "x") == parse_sweep(json.dumps(VALUES), "x")


LETTERS = "\t\n\r :,-?&*!|>'\"{}[]#%@`<~\\é\x00\x85\ufeff"
WORDS = (
    "- ",
    ": ",
    "\n  ",
    "&a ",
    "*a",
    "<<: *a",
    "---\n",
    "...\n",
    "!!int ",
    "!x ",
    "!!str ",
    "|\n",
)
NUMBERS = (".inf", ".nan", "null", "true", "-1", "1e999", "9" * 400, "0x" + "f" * 300)
ESCAPES = ('"\\ud800"', '"\\UFFFFFFFF"', "%YAML 9.9\n", "!!python/none ")
PIECES = st.sampled_from([*LETTERS, *WORDS, *NUMBERS, *ESCAPES])


@st.composite
def damaged_texts(draw):
    text = draw(st.sampled_from([EXAMPLE, EXAMPLE, json.dumps(VALUES, indent=1)]))
    for _ in range(draw(st.integers(1, 4))):
        lines = text.splitlines(keepends=True) or [""]
        line = draw(st.integers(0, len(lines) - 1))
        at = draw(st.integers(0, len(text)))
        until = at + draw(st.integers(0, 12))
        match draw(st.integers(0, 8)):
            case 0:
                text = text[:at] + text[until:]
            case 1:
                text = text[:at] + draw(PIECES) + text[at:]
            case 2:
                text = text[:at] + draw(PIECES) + text[until:]
            case 3:
                text = text[:until] + text[at:]
            case 4:
                text = "".join(lines[:line] + lines[line + 1 :])
            case 5:
                text = "".join([*lines[:line], lines[line], *lines[line:]])
            case 6:
                text = "".join(draw(st.permutations(lines)))
            case 7:
                text = "".join([*lines[:line], draw(PIECES), *lines[line:]])
            case _:
                text = text[:at]
    return text


@THOROUGH
@given(damaged_texts())
def test_damaged_text_gives_a_config_or_problems(text):
    check(text)


KNOWN = (
    "kind choice uniform int_range seed space control searcher slots warm mlflow batch optimizer"
)
DOTTED = "noise.alpha noise.alhpa training.epochs training.seed model.dtype batch.kind a.b.c"
KEYS = st.sampled_from([*KNOWN.split(), *DOTTED.split(), "asha", "", "x", "é\n", "\x7f"])
FLOATS = (1.0, 0.5, -0.5, 1e308, math.inf, -math.inf)
TEXTS = ("", "x", "5", "1e-4", "grid", "random", "none", "median", "float32", "own", "own\n", "é")
SCALARS = st.sampled_from([None, True, False, 0, 1, -1, 50, 70, 10**40, *FLOATS, *TEXTS])
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


def containers(values):
    """Yield every section and list."""
    if isinstance(values, dict | list):
        yield values
        for inner in values.values() if isinstance(values, dict) else values:
            yield from containers(inner)


@st.composite
def damaged_values(draw):
    values = copy.deepcopy(VALUES)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.sampled_from(list(containers(values))))
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if isinstance(place, dict) and draw(st.booleans()):
            keys.append(draw(KEYS))
        if not keys:
            continue
        key = draw(st.sampled_from(keys))
        if draw(st.integers(0, 3)) == 0:
            removed = place.pop(key, None) if isinstance(place, dict) else place.pop(key)
            if isinstance(place, dict) and draw(st.booleans()):
                place[draw(KEYS)] = removed
        else:
            place[key] = draw(ANYTHING)
    return values


def written(values):
    return json.dumps(values, indent=1).replace("Infinity", ".inf")


@THOROUGH
@given(damaged_values())
def test_damaged_values_give_a_config_or_problems(values):
    check(written(values))


SECTIONS = "name noise noise.alpha noise.x data.split x.y . a..b --set é"
SWEEP = (
    "space space.noise.alpha space.noise.alpha.choice control.noise.alpha scheduler.kind searcher"
)
PATHS = st.sampled_from(
    [*SECTIONS.split(), *(f"sweep.{key}" for key in SWEEP.split()), "sweep", ""]
)
OPTIONS = st.tuples(PATHS, ANYTHING.map(json.dumps) | PIECES | st.text()).map("=".join)


@settings(THOROUGH, max_examples=300)
@given(st.lists(OPTIONS, max_size=3, unique=True))
def test_any_option_gives_a_config_or_problems(options):
    check(EXAMPLE, *options)


@settings(THOROUGH, max_examples=100)
@given(st.binary(max_size=60), st.integers(0, len(EXAMPLE)))
def test_any_bytes_give_a_config_or_problems(tmp_path_factory, content, at):
    path = tmp_path_factory.getbasetemp() / "x.yaml"
    path.write_bytes(EXAMPLE[:at].encode() + content + EXAMPLE[at:].encode())
    try:
        load_sweep(path)
    except UserError as error:
        assert all(problem.where.startswith(f"{path}:") for problem in error.problems)
