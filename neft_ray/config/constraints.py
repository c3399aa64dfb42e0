"""Constraints: arithmetic and comparisons over a trial's dotted keys, which proposals keep."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from simpleeval import InvalidExpression, SimpleEval

_FUNCTIONS: dict[str, Callable[..., Any]] = {"abs": abs, "max": max, "min": min}
_PARTS = (
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call, ast.Constant),
    *(ast.Attribute, ast.Name, ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
    ast.expr_context,
)
_ADVICE = "write a comparison such as `optimizer.learning_rate * noise.alpha < 0.01`"


class Unusable(Exception):
    """A constraint that cannot be read, or computed with some values."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


@dataclass(frozen=True)
class Constraint:
    """One rule.

    Attributes:
        text: As it is written.
        keys: The dotted keys it names, in order.
    """

    text: str
    keys: tuple[str, ...]
    _tree: ast.expr = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Read a constraint.

        Raises:
            Unusable: If it is not a comparison of what can be computed.
        """
        return _parse(text)

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Tell whether values keep the rule.

        Args:
            values: At least of `keys`.

        Raises:
            Unusable: If it cannot be computed with them: division by zero, arithmetic with text.
        """
        evaluator = SimpleEval(functions=_FUNCTIONS)
        evaluator.nodes |= dict.fromkeys(
            (ast.Attribute, ast.Name), lambda node: values[_dotted(node)]
        )
        try:
            return bool(evaluator.eval(self.text, self._tree))
        except (ArithmeticError, TypeError, ValueError, InvalidExpression) as error:
            given = ", ".join(f"{key} = {values[key]}" for key in self.keys)
            what = f"cannot be computed where {given}: {error}"
            raise Unusable(what, "exclude these values from the space, or rewrite it") from None


@lru_cache(maxsize=256)
def _parse(text: str) -> Constraint:
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise Unusable(f"cannot be read: {reason}", _ADVICE) from None
    keys: list[str] = []
    _collect(tree, keys)
    if not _is_rule(tree):
        raise Unusable("is no comparison", _ADVICE)
    if not keys:
        raise Unusable("names no setting of the trial", _ADVICE)
    return Constraint(text, tuple(dict.fromkeys(keys)), tree)


def _collect(node: ast.AST, keys: list[str]) -> None:
    """Note the dotted keys below a node, and refuse what is neither arithmetic nor comparison."""
    if isinstance(node, ast.Attribute | ast.Name) and (key := _dotted(node)):
        keys.append(key)
        return
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in _FUNCTIONS or node.keywords:
            raise Unusable("calls what is no function here", f"known: {', '.join(_FUNCTIONS)}")
        for argument in node.args:
            _collect(argument, keys)
        return
    if not isinstance(node, _PARTS):
        raise Unusable("is more than arithmetic and comparisons", _ADVICE)
    for child in ast.iter_child_nodes(node):
        _collect(child, keys)


def _dotted(node: ast.AST) -> str:
    """Return the dotted key that a node spells, empty where it is none."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""


def _is_rule(node: ast.expr) -> bool:
    """Tell whether an expression is true or false: comparisons, joined by and, or, not."""
    if isinstance(node, ast.BoolOp):
        return all(map(_is_rule, node.values))
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not) and _is_rule(node.operand)
    return isinstance(node, ast.Compare)
