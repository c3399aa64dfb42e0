"""The search space."""

import pytest
from pydantic import ValidationError

from neft_ray.config.space import Choice, IntRange, LogUniform, Uniform, points
from neft_ray.config.sweep import SearchConfig


def test_grid_points_are_every_combination_in_order():
    space = {"a": Choice(choice=(1, 2)), "b": Choice(choice=("x", None))}
    assert list(points(space, {})) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": None},
        {"a": 2, "b": "x"},
        {"a": 2, "b": None},
    ]


def test_the_grid_of_an_empty_space_is_one_point():
    assert list(points({}, {})) == [{}]


def test_a_domain_is_chosen_by_its_only_key():
    space = {
        "a": {"choice": (1, 2.0, "x", True, None)},
        "b": {"uniform": (0, 1)},
        "c": {"loguniform": (1e-5, 1e-3)},
        "d": {"int_range": (1, 4)},
    }
    search = SearchConfig.model_validate({"space": space})
    assert [type(domain) for domain in search.space.values()] == [
        Choice,
        Uniform,
        LogUniform,
        IntRange,
    ]
    assert [type(item) for item in search.space["a"].corners[:4]] == [int, float, str, bool]
    assert [domain.corners for domain in list(search.space.values())[1:]] == [
        (0.0, 1.0),
        (1e-5, 1e-3),
        (1, 4),
    ]


def test_domains_cross_a_process_boundary_as_json():
    search = SearchConfig.model_validate({"space": {"a": {"int_range": (1, 4)}}})
    assert SearchConfig.model_validate_json(search.model_dump_json()) == search


@pytest.mark.parametrize(
    ("domain", "values", "message"),
    [
        (Uniform, {"uniform": (1, 1)}, "the lower end 1.0 is not below the upper end 1.0"),
        (LogUniform, {"loguniform": (1, 0.1)}, "the lower end 1.0 is not below"),
        (IntRange, {"int_range": (3, 2)}, "the lower end 3 is not below the upper end 2"),
        (LogUniform, {"loguniform": (0, 1)}, "greater than 0"),
        (IntRange, {"int_range": (1.0, 2)}, "valid integer"),
        (Choice, {"choice": (5, 5.0)}, "5.0 is listed twice"),
        (Choice, {"choice": ()}, "at least 1 item"),
        (Uniform, {"uniform": (0, float("inf"))}, "finite"),
    ],
)
def test_impossible_domains_are_refused(domain, values, message):
    with pytest.raises(ValidationError, match=message):
        domain(**values)


def test_true_and_one_are_different_choices():
    assert Choice(choice=(True, 1)).choice == (True, 1)


def test_a_listed_value_is_found_as_it_is_written():
    assert Choice(choice=(1, 2.0, None)).listed(2) == (2.0,)
    assert Choice(choice=(1, 2.0, None)).listed(None) == (None,)
    assert Choice(choice=(1, 2)).listed(True) == ()
    assert Uniform(uniform=(0, 2)).listed(1) == (1.0,) and Uniform(uniform=(0, 2)).listed(3) == ()
    assert LogUniform(loguniform=(1, 2)).listed(True) == ()
    assert (
        IntRange(int_range=(1, 4)).listed(4) == (4,)
        and IntRange(int_range=(1, 4)).listed(2.0) == ()
    )
