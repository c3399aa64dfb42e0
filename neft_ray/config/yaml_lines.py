"""YAML 1.2 text into plain values, and the line of every key, so that errors can name it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable

import yaml

from neft_ray.config.places import Finding, Path

Scalar = bool | int | float | str | None
Plain = Scalar | tuple["Plain", ...] | dict[str, "Plain"]

_MAX_DEPTH = 50
_MAX_NODES = 100_000
_MAX_DIGITS = 100
_CORE = "tag:yaml.org,2002:"
_MAP, _SEQ, _STR, _NULL, _BOOL, _INT, _FLOAT = (
    _CORE + name for name in ("map", "seq", "str", "null", "bool", "int", "float")
)

CORE_SCHEMA = (  # https://yaml.org/spec/1.2.2/#1032-tag-resolution
    (_NULL, re.compile(r"(?:null|Null|NULL|~|)\Z")),
    (_BOOL, re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")),
    (_INT, re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z")),
    (
        _FLOAT,
        re.compile(
            r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
        ),
    ),
)
"""Which plain words are not text. PyYAML's own table is YAML 1.1: `no` false, `1e-4` a text."""


class Unreadable(Exception):
    """Text of which no value can be made."""

    def __init__(self, line: int, what: str, remedy: str) -> None:
        super().__init__(what)
        self.finding = Finding((), what, remedy, line)


class _Loader(yaml.SafeLoader):
    """Composes nodes; YAML 1.2 words; refuses deep nesting before Python's stack does."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (PyYAML's own class attribute)
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise Unreadable(self.line + 1, "nested too deeply", "remove brackets or indentation")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _tag, _words in CORE_SCHEMA:
    _Loader.add_implicit_resolver(_tag, _words, None)


class Reading:
    """One YAML document: its values, the line of every path, and what broke YAML's rules."""

    def __init__(self, text: str) -> None:
        """Read a text.

        Raises:
            Unreadable: If there is no single document of valid YAML in it.
        """
        self.lines: dict[Path, int] = {}
        self.findings: list[Finding] = []
        self.unusable: set[Path] = set()
        """Paths whose value could not be read; null stands there."""
        self._open: list[yaml.Node] = []
        root = _compose(text)
        self.values = self._value(root, (), _line(root))

    def _value(self, node: yaml.Node, path: Path, line: int) -> Plain:
        if any(node is parent for parent in self._open):
            raise Unreadable(_line(node), "an anchor that contains itself", "write the value out")
        if len(self.lines) >= _MAX_NODES:
            raise Unreadable(_line(node), f"more than {_MAX_NODES} values", "use fewer anchors")
        self.lines[path] = line
        self._open.append(node)
        value: Plain
        if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
            value = self._mapping(node, path)
        elif isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
            items = enumerate(node.value)
            value = tuple(self._value(item, (*path, i), _line(item)) for i, item in items)
        else:
            value = self._scalar(node, path)
        self._open.pop()
        return value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Plain]:
        values: dict[str, Plain] = {}
        for key_node, value_node in node.value:
            line = _line(key_node)
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _STR:
                self._found(path, line, f"the key {_written(key_node)} is not a text", "quote it")
                continue
            key = _characters(key_node.value, line)
            if key in values:
                first = f"written twice, first on line {self.lines[*path, key]}"
                self._found((*path, key), line, first, "keep one")
            else:
                values[key] = self._value(value_node, (*path, key), line)
        return values

    def _scalar(self, node: yaml.Node, path: Path) -> Scalar:
        """Return a scalar's value; null and a finding where it has none."""
        if isinstance(node, yaml.ScalarNode):
            text = _characters(node.value, _line(node))
            with contextlib.suppress(ValueError, KeyError):  # `!!int five`, 1000 digits, `!mine x`
                return _SCALARS[node.tag](text)
        self.unusable.add(path)
        self._found(path, _line(node), f"cannot use {_written(node)}", "write a plain value")
        return None

    def _found(self, path: Path, line: int, what: str, remedy: str) -> None:
        self.findings.append(Finding(path, what, remedy, line))


def _whole_number(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError("too long")
    base = {"0x": 16, "0o": 8}.get(text[:2], 10)
    return int(text, base)


def _real_number(text: str) -> float:
    return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))


_SCALARS: dict[str, Callable[[str], Scalar]] = {
    _STR: str,
    _NULL: lambda text: None,
    _BOOL: lambda text: {"true": True, "false": False}[text.lower()],
    _INT: _whole_number,
    _FLOAT: _real_number,
}


def _characters(text: str, line: int) -> str:
    """Join the two escapes that JSON writes for one character, such as an emoji's."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        remedy = "write the character itself"
        raise Unreadable(line, "an escape that is half a character", remedy) from None


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _written(node: yaml.Node) -> str:
    """Return what a node looks like in the file, in short."""
    if node.tag in (_MAP, _SEQ):
        return "a section" if node.tag == _MAP else "a list"
    tag = f"the tag {node.tag.removeprefix(_CORE)!r}"
    if not isinstance(node, yaml.ScalarNode):
        return tag
    text = node.value if len(node.value) <= 40 else f"{node.value[:40]}…"
    return repr(text) if node.tag in _SCALARS else f"{tag} of {text!r}"


def _compose(text: str) -> yaml.Node:
    """Return the root node of a text's only document."""
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Unreadable(line, "a control character", "remove it; save as UTF-8 text") from None
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _syntax(error) from None
    except (ValueError, OverflowError):  # an escape such as "\UFFFFFFFF"
        remedy = r"write the character itself, or \\ for a backslash"
        raise Unreadable(loader.line + 1, "an escape that is no character", remedy) from None
    if node is None:
        raise Unreadable(1, "empty", "write `key: value` lines")
    return node


def _syntax(error: yaml.MarkedYAMLError) -> Unreadable:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    problem = error.problem or "not valid"
    if "another document" in problem:
        return Unreadable(line, "a second document (`---`)", "keep one document per file")
    if r"'\t'" in problem:
        return Unreadable(line, "a tab where YAML wants spaces", "indent with spaces")
    begun = error.context_mark.line + 1 if error.context_mark else line
    context = f" ({error.context}, begun on line {begun})" if error.context else ""
    remedy = "check indentation, colons, quotes and brackets"
    return Unreadable(line, f"not YAML: {problem}{context}", remedy)
