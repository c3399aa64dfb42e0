"""YAML text into values and lines."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neft_ray.config.places import dotted
from neft_ray.config.yaml_lines import Reading, Unreadable


def value(text):
    return Reading(f"key: {text}").values["key"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-4", 1e-4),
        ("5e-5", 5e-5),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.inf", -math.inf),
        ("012", 12),
        ("0x1F", 31),
        ("0o17", 15),
        ("+3", 3),
        ("true", True),
        ("False", False),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("'1e-4'", "1e-4"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("~", None),
        ("", None),
        ("!!str 5", "5"),
        ("[1, [2]]", (1, (2,))),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
        ("<<", "<<"),
    ],
)
def test_words_mean_what_yaml_1_2_says(text, expected):
    read = value(text)
    assert read == expected
    assert type(read) is type(expected)


def test_nan_is_a_number():
    assert math.isnan(value(".nan"))


def test_every_path_has_the_line_of_its_key():
    text = "# a comment\na: 1\n\nb:\n  c:\n    - 1\n    - {d: 2,\n       e: 3}\n"
    assert {dotted(path): line for path, line in Reading(text).lines.items()} == {
        "": 2,
        "a": 2,
        "b": 4,
        "b.c": 5,
        "b.c[0]": 6,
        "b.c[1]": 7,
        "b.c[1].d": 7,
        "b.c[1].e": 8,
    }


def test_an_anchor_repeats_its_value():
    assert Reading("a: &x {b: 1}\nc: *x\n").values == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a: 1\n\tb: 2\n", 2, "a tab where YAML wants spaces"),
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "not YAML: expected ',' or ']', but got ':'"),
        ("a: 1\n---\nb: 2\n", 2, "a second document (`---`)"),
        ("", 1, "empty"),
        ("# nothing\n", 1, "empty"),
        ("a: 1\nb: \x00\n", 2, "a control character"),
        ('a: 1\nb: "\\UFFFFFFFF"\n', 2, "an escape that is no character"),
        ('a: 1\nb: "\\ud800"\n', 2, "an escape that is half a character"),
        ('a: 1\n"\\udfff": 1\n', 2, "an escape that is half a character"),
        ("a: &x\n  b: *x\n", 1, "an anchor that contains itself"),
        ("a: *nobody\n", 1, "not YAML: found undefined alias 'nobody'"),
        ("a: 1\nb: " + "[" * 2000, 2, "nested too deeply"),
        ("a: 1\n b: 2\n", 2, "not YAML: mapping values are not allowed here"),
    ],
)
def test_text_without_a_value_is_unreadable_at_its_line(text, line, what):
    with pytest.raises(Unreadable) as error:
        Reading(text)
    assert error.value.finding.line == line
    assert error.value.finding.what.startswith(what)


def test_anchors_that_explode_are_refused():
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    with pytest.raises(Unreadable, match="more than 100000 values"):
        Reading("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "path", "line", "what"),
    [
        ("a: 1\nb: 2\na: 3\n", "a", 3, "written twice, first on line 1"),
        ("s:\n  a: 1\n  'a': 2\n", "s.a", 3, "written twice, first on line 2"),
        ("a: 1\n2: b\n", "", 2, "the key '2' is not a text"),
        ("s:\n  true: b\n", "s", 2, "the key 'true' is not a text"),
        ("s:\n  ? [x, y]\n  : b\n", "s", 2, "the key a list is not a text"),
        ("a: !mine 5\n", "a", 1, "cannot use the tag '!mine' of '5'"),
        ("a: !!python/name:os.system x\n", "a", 1, "cannot use the tag 'python/name:os.system'"),
        ("a:\n  - !!set {x, y}\n", "a[0]", 2, "cannot use the tag 'set'"),
        ("a: !!str {x: 1}\n", "a", 1, "cannot use the tag 'str'"),
        ("s:\n  ? !!str [x]\n  : b\n", "s", 2, "the key the tag 'str' is not a text"),
        ("a: !!map x\n", "a", 1, "cannot use a section"),
        ("a: !!int five\n", "a", 1, "cannot use 'five'"),
        ("a: !!bool maybe\n", "a", 1, "cannot use 'maybe'"),
        (f"a: {'9' * 101}\n", "a", 1, f"cannot use '{'9' * 40}…'"),
        (f"a: 0x{'f' * 9999}\n", "a", 1, "cannot use '0xfff"),
    ],
)
def test_broken_rules_are_found_and_the_rest_is_read(text, path, line, what):
    reading = Reading(f"{text}rest: kept\n")
    (found,) = reading.findings
    assert (dotted(found.path), found.line) == (path, line)
    assert found.what.startswith(what)
    assert reading.values["rest"] == "kept"


def test_all_broken_rules_of_a_text_are_found():
    assert len(Reading("a: 1\na: 2\n3: x\nb: !y 1\n").findings) == 3


TEXT = st.text(st.characters(exclude_categories=("Cs",)))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def with_tuples(plain):
    if isinstance(plain, dict):
        return {key: with_tuples(inner) for key, inner in plain.items()}
    return tuple(map(with_tuples, plain)) if isinstance(plain, list) else plain


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(PLAIN)
def test_json_is_read_as_what_it_says(plain):
    text = json.dumps({"key": plain}).replace("Infinity", ".inf")
    assert Reading(text).values == {"key": with_tuples(plain)}
