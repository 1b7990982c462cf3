"""Types of fields that YAML files may hold: whether a value fits a type, and the type in words."""

from __future__ import annotations

import types
import typing
from dataclasses import Field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from search_spaces.nodes import Node
from search_spaces.ranges import types_of

SCALARS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    type(None): "null",
}


def settable(cls: Any) -> dict[str, Field[Any]]:
    """Return the fields that a file may set, by name."""
    return {field.name: field for field in fields(cls) if field.init}


INLINE = {"inline": True}
"""Metadata of a field whose own fields stand in the mapping around it."""


def inline_fields(cls: Any) -> list[str]:
    """Return the names of the fields that are written inline."""
    return [name for name, field in settable(cls).items() if field.metadata.get("inline")]


def keys_of(cls: Any) -> dict[str, Field[Any]]:
    """Return the keys that a mapping for a dataclass may have: its fields, and those of fields written inline."""
    own = settable(cls)
    for name in inline_fields(cls):
        del own[name]
        own = {**settable(field_types(cls)[name]), **own}
    return own


def parses(wanted: Any) -> bool:
    """Return whether values of a class may be written as text."""
    return isinstance(wanted, type) and callable(getattr(wanted, "parse", None))


def field_types(cls: Any) -> dict[str, Any]:
    """Return the types of a dataclass's fields, by name."""
    return types_of(cls)


def members_of(wanted: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type itself where it is none."""
    return typing.get_args(wanted) if typing.get_origin(wanted) in (Union, types.UnionType) else (wanted,)


def bare(wanted: Any) -> Any:
    """Return a type without the range of its numbers."""
    return typing.get_args(wanted)[0] if typing.get_origin(wanted) is Annotated else wanted


@cache
def kinds(members: tuple[Any, ...]) -> dict[str, Any]:
    """Return the dataclass of every kind, where at least two dataclasses of a union have a ``kind``; else nothing."""
    hints = {member: field_types(member).get("kind") for member in members if is_dataclass(member)}
    named = {member: typing.get_args(hint) for member, hint in hints.items() if typing.get_origin(hint) is Literal}
    return {kind: member for member, of_it in named.items() for kind in of_it} if len(named) > 1 else {}


def fits(wanted: Any, node: Node) -> bool:
    """Return whether a value fits a type; the content of lists and mappings is not checked."""
    value, origin, arguments = node.value, typing.get_origin(wanted), typing.get_args(wanted)
    if origin is Annotated:
        return fits(arguments[0], node)
    if origin is Literal:
        return any(type(value) is type(legal) and value == legal for legal in arguments)
    if origin is tuple:
        single = arguments[-1] is Ellipsis and not isinstance(value, (dict, list)) and fits(arguments[0], node)
        return isinstance(value, list) or single
    if parses(wanted) and isinstance(value, str):
        return True
    if origin is dict or is_dataclass(wanted):
        return isinstance(value, dict)
    if origin in (Union, types.UnionType):
        return any(fits(member, node) for member in arguments)
    if wanted is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is (str if wanted is Path else wanted)


def words(wanted: Any) -> str:
    """Return a type in words, for messages."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is Annotated:
        kind, numbers = arguments
        multiple = f"a multiple of {numbers.multiple}" if numbers.multiple > 1 else words(kind)
        return f"{'an odd number' if numbers.odd else multiple} {numbers}"
    if origin in (Union, types.UnionType):
        tags = kinds(arguments)
        choice = [f"one of {', '.join(tags)}"] if tags else []
        others = [words(member) for member in arguments if member not in tags.values()]
        return " or ".join(dict.fromkeys(choice + others))
    if origin is Literal:
        return ", ".join(map(str, arguments))
    if origin is tuple:
        members = [words(member) for member in arguments if member is not Ellipsis]
        return f"a list of [{', '.join(members)}{', ...' if Ellipsis in arguments else ''}]"
    if origin is dict:
        return f"a mapping from names to {words(arguments[1])}"
    if parses(wanted):
        return f"a text of {wanted.__name__}"
    if is_dataclass(wanted):
        return f"a mapping of {', '.join(keys_of(wanted))}"
    return SCALARS.get(wanted, str(wanted))
