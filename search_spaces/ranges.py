"""Ranges of numbers: every field declares its own, ``epochs: Annotated[int, Range(1, 100)]``, and all are checked here.

A value that derives from :class:`Checked` refuses numbers outside them, whether a file or a program made it, and holds
the others in the type of the field: equal values are equal texts.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Hashable
from dataclasses import dataclass, fields
from functools import cache, wraps
from numbers import Real
from typing import Annotated, Any, TypeVar, Union

from search_spaces.values import FieldError, shown


@dataclass(frozen=True)
class Range:
    """Legal numbers, both ends included; infinities and NaN never are.

    Args:
        low: the least one.
        high: the largest one.
        above: whether ``low`` itself is illegal.
        below: whether ``high`` itself is illegal.
        odd: whether only odd numbers are legal, and 0 where ``low`` is 0.
        multiple: what legal numbers are multiples of; 1: any.
    """

    low: float
    high: float
    above: bool = False
    below: bool = False
    odd: bool = False
    multiple: int = 1

    def __contains__(self, number: Any) -> bool:
        if not self.low <= number <= self.high:  # false of NaN too
            return False
        at_end = (self.above and number == self.low) or (self.below and number == self.high)
        return (
            not at_end
            and not (self.odd and number and number % 2 != 1)
            and not (self.multiple > 1 and number % self.multiple)
        )

    def __str__(self) -> str:
        or_zero = self.odd and self.low == 0
        ends = (1 if or_zero else self.low, self.high)
        low, high = (f"{end:.15g}" if abs(end) < 1e15 else f"{end:g}" for end in ends)
        zero = ", or 0" if or_zero else ""
        return f"{'above' if self.above else 'from'} {low} to {'below ' if self.below else ''}{high}{zero}"


F = TypeVar("F", bound=Callable[..., Any])

Pixels = Annotated[int, Range(1, 4096)]
"""A side of images."""

Channels = Annotated[int, Range(1, 16_384)]

Classes = Annotated[int, Range(1, 1_000_000)]

Seed = Annotated[int, Range(0, 2**31 - 1)]

ImageCount = Annotated[int, Range(0, 1_000_000_000)]
"""A number of images, where 0 means all."""

MOST_THREADS = 256
"""Threads of a processor that anybody asks for; where there may not be that many, OpenMP ends the process."""

Share = Annotated[float, Range(0, 1)]


class Checked:
    """Base of frozen dataclasses whose numbers are within the ranges of their fields.

    A ``__post_init__`` of their own begins with this one's: what it computes with is legal then.
    """

    def __post_init__(self) -> None:
        cls: Any = type(self)
        for name, hint in _numeric_fields(cls):
            given = getattr(self, name)
            value = checked(hint, given, (name,))
            if value is not given:
                object.__setattr__(self, name, value)


def checks(function: F) -> F:
    """Return the function of a command, which refuses numbers outside the ranges of its arguments' types."""
    signature = inspect.signature(function)

    @wraps(function)
    def checking(*arguments: Any, **named: Any) -> Any:
        given, hints = signature.bind(*arguments, **named), types_of(function)
        for name, value in given.arguments.items():
            given.arguments[name] = checked(hints[name], value, (f"--{name.replace('_', '-')}",))
        return function(*given.args, **given.kwargs)

    return checking  # type: ignore[return-value]


def checked(hint: Any, value: Any, path: tuple[str | int, ...] = ()) -> Any:
    """Return a value of a type, in which every number is within its range and of its type.

    Args:
        hint: the type; ranges stand in it as ``Annotated[int, Range(1, 9)]``.
        value: what may not be such a value yet; what is no number is left as it is where the type has such.
        path: where it stands, for messages.

    Raises:
        FieldError: naming the number and the legal ones.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _number(arguments[0], arguments[1], value, path) if _has_range(hint) else value
    if origin in (Union, types.UnionType):
        member = _member(arguments, value)
        return value if member is None else checked(member, value, path)
    return _entries(arguments, value, path) if origin is tuple else value


def _entries(members: tuple[Any, ...], value: Any, path: tuple[str | int, ...]) -> Any:
    if not isinstance(value, (tuple, list)):
        raise FieldError(path, f"{shown(value)} is not a list of numbers")
    each = members[:1] * len(value) if members[-1] is Ellipsis else members
    if len(each) != len(value):
        raise FieldError(path, f"has {len(value)} entries; legal: {len(each)}")
    entries = [checked(one, entry, (*path, place)) for place, (one, entry) in enumerate(zip(each, value))]
    return type(value)(entries) if any(new is not old for new, old in zip(entries, value)) else value


def legal(hint: Any) -> str:
    """Return the numbers of a field in words: ``whole numbers from 1 to 9``."""
    return _words(*typing.get_args(hint))


@cache
def types_of(cls: Hashable) -> dict[str, Any]:
    """Return the types of a dataclass's fields, or a function's arguments, by name, with their ranges."""
    return typing.get_type_hints(cls, include_extras=True)


@cache
def _numeric_fields(cls: Any) -> tuple[tuple[str, Any], ...]:
    hints = types_of(cls)
    return tuple((each.name, hints[each.name]) for each in fields(cls) if each.init and _has_range(hints[each.name]))


def _has_range(hint: Any) -> bool:
    if typing.get_origin(hint) is Annotated:
        return isinstance(typing.get_args(hint)[1], Range)
    return any(map(_has_range, typing.get_args(hint)))


def _member(members: tuple[Any, ...], value: Any) -> Any:
    """Return the member of a union that a value is of, if that has ranges; of several numbers the first."""
    if type(value) in members or not isinstance(value, (tuple, list, Real, str)):
        return None  # another member's, such as a text or a dataclass
    wanted = tuple if isinstance(value, (tuple, list)) else Annotated
    return next((each for each in members if typing.get_origin(each) is wanted and _has_range(each)), None)


def _number(kind: Any, numbers: Range, value: Any, path: tuple[str | int, ...]) -> Any:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or value not in numbers or (kind is int and value != int(value)):
        raise FieldError(path, f"{shown(value)} is illegal; legal: {_words(kind, numbers)}")
    return kind(value) if kind in (int, float) and type(value) is not kind else value


def _words(kind: Any, numbers: Range) -> str:
    if numbers.multiple > 1:
        return f"multiples of {numbers.multiple} {numbers}"
    return f"{'odd ' if numbers.odd else 'whole ' if kind is int else ''}numbers {numbers}"
