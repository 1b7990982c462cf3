"""Strict YAML into typed dataclasses: every mistake is named with file, line and path, and nothing is guessed.

    experiment.yaml:14: stages[3].depth: 0 is illegal; legal: numbers from 1 up

Where a tuple of any length is expected, one scalar is a tuple of one: ``kernel_size: 3`` is ``kernel_size: [3]``.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Collection
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from search_spaces.nodes import Node, read_text, read_yaml
from search_spaces.values import FieldError

__all__ = ["Node", "build", "legal_names", "load_yaml", "read_text", "read_yaml"]

T = TypeVar("T")

_SCALARS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    type(None): "null",
}


def load_yaml(cls: type[T], path: Path | str) -> T:
    """Read a YAML file into a dataclass.

    Raises:
        ValueError: naming the file, the line, the path, what is wrong and what is legal.
    """
    return build(cls, read_yaml(path))


def build(cls: type[T], node: Node) -> T:
    """Build a dataclass, and the dataclasses inside it, from a mapping.

    Fields may be bool, int, float, str, Path, None, Literal, tuples, dict[str, ...], dataclasses, and unions of
    these. An int is accepted for a float (and becomes one); a bool is never a number.

    Args:
        cls: the dataclass; a ``FieldError`` that its ``__post_init__`` raises is given file and line here.
        node: what ``read_yaml`` returned, or a part of it.

    Raises:
        ValueError: naming the file, the line, the path, what is wrong and what is legal.
    """
    if not isinstance(node.value, dict):
        raise node.error(f"is {node.kind}; legal: a mapping of {', '.join(_settable(cls))}")
    hints = typing.get_type_hints(cls)
    legal = _settable(cls)
    for key, child in node.value.items():
        if key not in legal:
            raise child.error(f"unknown key; {legal_names(key, legal)}")
    for name, field in legal.items():
        if name not in node.value and field.default is MISSING and field.default_factory is MISSING:
            raise node.error(f"the key {name!r} is missing; it holds {_words(hints[name])}")
    given = {key: _convert(hints[key], child) for key, child in node.value.items()}
    try:
        return cls(**given)
    except FieldError as error:
        place = node.find(error.path)
        full = FieldError((*node.path, *error.path), error.problem)
        raise ValueError(f"{place.file}:{place.line}: {full}") from error
    except ValueError as error:
        raise node.error(str(error)) from error


def legal_names(wrong: str, legal: Collection[str]) -> str:
    """The end of a message about an unknown name: the nearest legal one, then all of them."""
    near = difflib.get_close_matches(wrong, legal, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return f"{guess}legal: {', '.join(legal)}"


def _settable(cls: Any) -> dict[str, Field[Any]]:
    return {field.name: field for field in fields(cls) if field.init}


def _convert(wanted: Any, node: Node) -> Any:
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is typing.Annotated:
        return _convert(arguments[0], node)
    if origin in (Union, types.UnionType):
        return _convert(_member(arguments, wanted, node), node)
    if origin is Literal:
        return _literal(arguments, node)
    if origin is tuple:
        return _tuple(arguments, wanted, node)
    if origin is dict:
        return _dict(arguments[1], wanted, node)
    if is_dataclass(wanted):
        return build(wanted, node)  # type: ignore[arg-type]
    return _scalar(wanted, node)


def _scalar(wanted: Any, node: Node) -> Any:
    if wanted not in _SCALARS:
        raise TypeError(f"build cannot read fields of type {wanted}; legal: {', '.join(_SCALARS.values())}")
    if not _fits(wanted, node):
        raise node.error(f"is {node.kind}; legal: {_words(wanted)}")
    return wanted(node.value) if wanted in (float, Path) else node.value


def _literal(legal: tuple[Any, ...], node: Node) -> Any:
    if not _fits(Literal[legal], node):
        names = [str(value) for value in legal]
        raise node.error(f"is {node.kind}; {legal_names(str(node.value), names)}")
    return node.value


def _tuple(arguments: tuple[Any, ...], wanted: Any, node: Node) -> tuple[Any, ...]:
    any_length = len(arguments) == 2 and arguments[1] is Ellipsis
    if any_length and not isinstance(node.value, (list, dict)) and node.value is not None:
        return (_convert(arguments[0], node),)
    if not isinstance(node.value, list):
        raise node.error(f"is {node.kind}; legal: {_words(wanted)}")
    if any_length:
        return tuple(_convert(arguments[0], item) for item in node.value)
    if len(node.value) != len(arguments):
        raise node.error(f"has {len(node.value)} entries; legal: {len(arguments)}")
    return tuple(_convert(argument, item) for argument, item in zip(arguments, node.value))


def _dict(value_type: Any, wanted: Any, node: Node) -> dict[str, Any]:
    if not isinstance(node.value, dict):
        raise node.error(f"is {node.kind}; legal: {_words(wanted)}")
    return {key: _convert(value_type, child) for key, child in node.value.items()}


def _member(members: tuple[Any, ...], wanted: Any, node: Node) -> Any:
    """The member of a union that a value belongs to; an exact type goes before one that needs a conversion."""
    exact = [member for member in members if type(node.value) is member]
    fitting = exact or [member for member in members if _fits(member, node)]
    if not fitting:
        raise node.error(f"is {node.kind}; legal: {_words(wanted)}")
    return fitting[0]


def _fits(wanted: Any, node: Node) -> bool:
    """Whether a value is of the right kind; lists and mappings are only looked at from outside."""
    value, origin, arguments = node.value, typing.get_origin(wanted), typing.get_args(wanted)
    if origin is Literal:
        return any(type(value) is type(legal) and value == legal for legal in arguments)
    if origin is tuple:
        single = arguments[-1] is Ellipsis and not isinstance(value, (dict, list)) and _fits(arguments[0], node)
        return isinstance(value, list) or single
    if origin is dict or is_dataclass(wanted):
        return isinstance(value, dict)
    if origin in (Union, types.UnionType):
        return any(_fits(member, node) for member in arguments)
    if wanted is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is (str if wanted is Path else wanted)


def _words(wanted: Any) -> str:
    """A type in words, for messages."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is typing.Annotated:
        return _words(arguments[0])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(member) for member in arguments))
    if origin is Literal:
        return ", ".join(map(str, arguments))
    if origin is tuple:
        members = [_words(member) for member in arguments if member is not Ellipsis]
        return f"a list of [{', '.join(members)}{', ...' if Ellipsis in arguments else ''}]"
    if origin is dict:
        return f"a mapping from names to {_words(arguments[1])}"
    if is_dataclass(wanted):
        return f"a mapping of {', '.join(_settable(wanted))}"
    return _SCALARS.get(wanted, str(wanted))
