"""Strict YAML into typed dataclasses: every mistake is named with file, line and path, and nothing is guessed.

    experiment.yaml:14: stages[3].depth: 0 is illegal; legal: numbers from 1 up

Where a tuple of any length is expected, one scalar is a tuple of one: ``kernel_size: 3`` is ``kernel_size: [3]``.

A union of dataclasses that each have a field ``kind: Literal[...]`` is a choice by tag: ``{kind: step, factor: 0.5}``
is the one whose kind is ``step``, and the text ``step`` alone is ``{kind: step}``.

A class with a method ``parse(text)`` may be written as text. The fields of a field that is :func:`inline` stand in the
mapping around it.

Files may inherit from each other, and options of a command come on top: see :mod:`search_spaces.merging`.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, Field, field, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union

from search_spaces.hints import (
    INLINE,
    SCALARS,
    bare,
    field_types,
    fits,
    inline_fields,
    keys_of,
    kinds,
    members_of,
    parses,
    settable,
    words,
)
from search_spaces.merging import read_merged
from search_spaces.nodes import Node, json_node, read_text, read_yaml
from search_spaces.paths import expanded
from search_spaces.values import FieldError

__all__ = ["Node", "from_json_value", "from_node", "inline", "legal_names", "load_yaml", "read_text", "read_yaml"]

T = TypeVar("T")
_LONGEST = 80  # characters of a name that is compared with others


def load_yaml(cls: type[T], path: Path | str, overrides: Sequence[tuple[str, str]] = ()) -> T:
    """Read a YAML file, and the files that it inherits from, into a dataclass.

    Args:
        cls: the dataclass.
        path: the file.
        overrides: names and texts of values that replace those of the file: ``("finetune.epochs", "20")``,
            ``("search.budgets.0", "macs<=2M")``, ``("train.recipe.mixup", "null")``.

    Raises:
        ValueError: naming the file, the line, the path (or the option), the mistake and the legal values.
    """
    return from_node(cls, read_merged(path, overrides))


def from_json_value(cls: type[T], content: Any, file: str, *, more: bool = False) -> T:
    """Build a dataclass from what JSON held, as :func:`from_node` does from YAML.

    Args:
        cls: the dataclass.
        content: the mapping.
        file: its name in messages.
        more: whether its mappings may hold more than the dataclasses do, which is left out then.

    Raises:
        ValueError: naming the file, the path, the mistake and the legal values.
    """
    return from_node(cls, json_node(content, file, more=more))


def from_node(cls: type[T], node: Node, default: Any = None) -> T:
    """Build a dataclass, and the dataclasses inside it, from a mapping.

    Fields may be bool, int, float, str, Path, None, Literal, tuples, dict[str, ...], dataclasses, classes that parse
    a text, and unions of these. An int is accepted for a float (and becomes one); a bool is never a number. In texts
    ``~`` and environment variables are replaced, see :func:`search_spaces.paths.expanded`.

    Args:
        cls: the dataclass; a ``FieldError`` that its ``__post_init__`` raises is given file and line here.
        node: a node from ``read_yaml``, or a part of it.
        default: the value that a mapping of options only changes.

    Raises:
        ValueError: naming the file, the line, the path, the mistake and the legal values.
    """
    if not isinstance(node.value, dict):
        raise node.error(f"is {node.kind}; legal: a mapping of {', '.join(keys_of(cls))}")
    if node.more:
        node = replace(node, value={key: child for key, child in node.value.items() if key in keys_of(cls)})
    for key, child in node.value.items():
        if key not in keys_of(cls):
            raise child.error(f"unknown key; {legal_names(key, keys_of(cls))}")
    node, legal, hints = _gathered(cls, node), settable(cls), field_types(cls)
    given = {key: child for key, child in node.value.items() if not _left_out(hints[key], child)}
    amended = default if node.amends and type(default) is cls else None
    standing = {} if amended is None else {key: getattr(amended, key) for key in legal if key not in node.value}
    missing = [name for name, each in legal.items() if name not in {*given, *standing} and not _has_default(each)]
    if missing:
        raise node.error(_of_missing(missing, hints, replaces=type(default) is cls))
    values = {key: _convert(hints[key], child, _default(legal[key], amended)) for key, child in given.items()}
    return _construct(cls, standing | values, node)


def _of_missing(names: Sequence[str], hints: Mapping[str, Any], *, replaces: bool) -> str:
    """Return what is said of keys that are missing, perhaps in a mapping that takes the place of a default one."""
    first, *more = names
    too = f"; {', '.join(map(repr, more))} too" if more else ""
    whole = "; give all of it, which takes the place of the whole default" if replaces else ""
    return f"the key {first!r} is missing; it is {words(hints[first])}{too}{whole}"


def inline() -> Any:
    """Return the default of a field whose own fields stand in the mapping around it, as those of ``recipe`` do in
    ``finetune: {optimizer: adamw, epochs: 5, teacher: ...}``."""
    return field(metadata=INLINE)


def _gathered(cls: type[T], node: Node) -> Node:
    """Move the keys of every field that is written inline into a mapping of its own."""
    for name in inline_fields(cls):
        of_it = settable(field_types(cls)[name])
        inside = {key: child for key, child in node.value.items() if key in of_it}
        outside = {key: child for key, child in node.value.items() if key not in of_it}
        node = replace(node, value={**outside, name: replace(node, value=inside)})
    return node


def legal_names(wrong: str, legal: Collection[str]) -> str:
    """Return the end of a message about an unknown name: the nearest legal one, then all of them."""
    near = difflib.get_close_matches(wrong[:_LONGEST], legal, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return f"{guess}legal: {', '.join(legal)}"


def _construct(cls: type[T], values: dict[str, Any], node: Node) -> T:
    try:
        return cls(**values)
    except FieldError as error:
        place = node.find(error.path)
        raise place.error(error.problem, error.path[len(place.path) - len(node.path) :]) from error
    except ValueError as error:
        raise node.error(str(error)) from error


def _left_out(wanted: Any, node: Node) -> bool:
    """Return whether a null only removes an inherited key."""
    return node.resets and not fits(wanted, node)


def _has_default(each: Field[Any]) -> bool:
    return each.default is not MISSING or each.default_factory is not MISSING


def _default(each: Field[Any], amended: Any) -> Any:
    """Return the value of a field that is not given."""
    if amended is not None:
        return getattr(amended, each.name)
    return each.default if each.default_factory is MISSING else each.default_factory()


def _convert(wanted: Any, node: Node, default: Any = None) -> Any:
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is Annotated:
        return _scalar(wanted, node)
    if origin in (Union, types.UnionType):
        return _union(arguments, wanted, node, default)
    if origin is Literal:
        return _literal(arguments, node)
    if origin is tuple:
        return _tuple(arguments, wanted, node)
    if origin is dict:
        return _dict(arguments[1], wanted, node)
    if parses(wanted) and isinstance(node.value, str):
        return _parse(wanted, node)
    if parses(wanted) and node.amends and "kind" in node.value:
        return _amended_text(wanted, node)
    if is_dataclass(wanted):
        return from_node(wanted, node, default)  # type: ignore[arg-type]
    return _scalar(wanted, node)


def _union(members: tuple[Any, ...], wanted: Any, node: Node, default: Any) -> Any:
    """Return a value of a union: of the dataclass that its kind names, or of the member that fits its type."""
    tags = kinds(members)
    others = tuple(member for member in members if member not in tags.values())
    if tags and isinstance(node.value, dict) and ("kind" in node.value or not any(fits(each, node) for each in others)):
        return from_node(_tagged(tags, node, default), node, default)
    if tags and isinstance(node.value, str) and str not in others:
        if node.value in tags:
            return from_node(tags[node.value], replace(node, value={"kind": node}))
        if not any(fits(each, node) for each in others):
            raise node.error(f"is {node.kind}; {legal_names(node.value, tags)}")
    return _convert(_member(others, wanted, node), node, default)


def _tagged(tags: dict[str, Any], node: Node, default: Any) -> Any:
    """Return the dataclass whose kind a mapping names."""
    if "kind" not in node.value:
        if node.amends and type(default) in tags.values():
            return type(default)
        raise node.error(f"the key 'kind' is missing; legal: {', '.join(tags)}")
    kind = node.value["kind"]
    if not isinstance(kind.value, str) or kind.value not in tags:
        raise kind.error(f"is {kind.kind}; {legal_names(str(kind.value), tags)}")
    return tags[kind.value]


def _parse(wanted: Any, node: Node) -> Any:
    try:
        return wanted.parse(expanded(node.value))
    except ValueError as error:
        raise node.error(str(error)) from error


def _amended_text(wanted: Any, node: Node) -> Any:
    """Return what was written as text, and what options change of it; they take a text for a kind."""
    entries = dict(node.value)
    named = _parse(wanted, entries.pop("kind"))
    return from_node(wanted, replace(node, value=entries), named)


def _scalar(wanted: Any, node: Node) -> Any:
    kind = bare(wanted)
    if not any(member in SCALARS for member in members_of(kind)):
        raise TypeError(f"from_node cannot read fields of type {wanted}; legal: {', '.join(SCALARS.values())}")
    if not fits(wanted, node):
        raise node.error(f"is {node.kind}; legal: {words(wanted)}")
    value = expanded(node.value) if isinstance(node.value, str) else node.value
    try:
        return kind(value) if kind in (float, Path) else value
    except OverflowError:
        raise node.error(f"is {node.kind}; legal: {words(wanted)} that can be computed with") from None


def _literal(legal: tuple[Any, ...], node: Node) -> Any:
    if not fits(Literal[legal], node):
        names = [str(value) for value in legal]
        raise node.error(f"is {node.kind}; {legal_names(str(node.value), names)}")
    return node.value


def _tuple(arguments: tuple[Any, ...], wanted: Any, node: Node) -> tuple[Any, ...]:
    any_length = len(arguments) == 2 and arguments[1] is Ellipsis
    if any_length and not isinstance(node.value, (list, dict)) and node.value is not None:
        return (_convert(arguments[0], node),)
    if not isinstance(node.value, list):
        raise node.error(f"is {node.kind}; legal: {words(wanted)}")
    if any_length:
        return tuple(_convert(arguments[0], item) for item in node.value)
    if len(node.value) != len(arguments):
        raise node.error(f"has {len(node.value)} entries; legal: {len(arguments)}")
    return tuple(_convert(argument, item) for argument, item in zip(arguments, node.value))


def _dict(value_type: Any, wanted: Any, node: Node) -> dict[str, Any]:
    if not isinstance(node.value, dict):
        raise node.error(f"is {node.kind}; legal: {words(wanted)}")
    return {key: _convert(value_type, child) for key, child in node.value.items() if not _left_out(value_type, child)}


def _member(members: tuple[Any, ...], wanted: Any, node: Node) -> Any:
    """Return the member of a union that a value fits; an exact type goes before one that needs a conversion."""
    exact = [member for member in members if type(node.value) is bare(member)]
    fitting = exact or [member for member in members if fits(member, node)]
    if not fitting:
        raise node.error(f"is {node.kind}; legal: {words(wanted)}")
    return fitting[0]
