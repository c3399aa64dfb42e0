"""The base of every configuration section: frozen, strict, documented by its attributes."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Name = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A group of settings. Unknown keys, wrong types and non-finite numbers are errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )


RULE = "rule"
"""The pydantic error type of a rule that `broken_rule` states."""


def broken_rule(what: str, remedy: str) -> PydanticCustomError:
    """Return the error that a validator raises: it carries both halves of a `Problem`."""
    return PydanticCustomError(RULE, "{what}; {remedy}", {"what": what, "remedy": remedy})


_Item = TypeVar("_Item", bound=Hashable)


def _listed_once(items: tuple[_Item, ...]) -> tuple[_Item, ...]:
    seen = set()
    for item in items:
        mark = (isinstance(item, bool), item)  # in Python true equals 1; here 5 equals 5.0 only
        if mark in seen:
            raise broken_rule(f"{item!r} is listed twice", "list every value once")
        seen.add(mark)
    return items


ListedOnce = AfterValidator(_listed_once)
"""A tuple without equal values."""


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted key."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
