"""Checks and arithmetic that several parts of a search space share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

Number = int | float

MOST_VALUES = 256
"""Largest number of values of one decision: a population holds their indices as uint8."""

_LONGEST = 80  # characters of a value in a message


class FieldError(ValueError):
    """A ValueError with the path of the wrong field, so that the reader of a file can name file and line.

    Args:
        path: path to the field, for example ``("stages", 3, "depth")``.
        problem: the mistake and the legal values.
    """

    def __init__(self, path: Sequence[str | int], problem: str) -> None:
        self.path = tuple(path)
        self.problem = problem
        super().__init__(f"{spell(self.path)}: {problem}" if self.path else problem)

    def under(self, *parents: str | int) -> FieldError:
        """Return the same error with ``parents`` before its path."""
        return FieldError((*parents, *self.path), self.problem)


def spell(path: Sequence[str | int]) -> str:
    """Return a path as text: ``stages[3].depth``."""
    text = ""
    for part in path:
        name = part if isinstance(part, int) or part.isprintable() else shown(part)
        text += f"[{name}]" if isinstance(part, int) else f".{name}" if text else str(name)
    return text


def shown(value: Any) -> str:
    """Return a value as messages show it: in one line, and of a long one the beginning."""
    if isinstance(value, int) and abs(value) >= 10**_LONGEST:
        return "a number of more than 80 digits"  # which Python may refuse to write
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def plain_number(value: Any) -> Number:
    """Return ``value`` as an int if it is whole, else as a float, so that equal numbers are equal texts.

    Raises:
        ValueError: ``value`` is not a finite number (a bool is none).
    """
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not (isinstance(value, Integral) or math.isfinite(value)):
        raise ValueError(f"{shown(value)} is not a finite number")
    return int(value) if value == int(value) else float(value)


def check_choices(field: str, choices: Sequence[Number]) -> None:
    """Refuse a list of choices that is no tuple, empty, unsorted or repeats itself.

    Args:
        field: name of the field, for messages.
        choices: the numbers to choose from, a tuple.

    Raises:
        FieldError: naming the field, the value and the legal ones.
    """
    if not isinstance(choices, tuple):
        raise FieldError([field], f"{shown(choices)} is not a tuple of choices")
    if not choices:
        raise FieldError([field], "holds no choice; give at least one")
    if len(choices) > MOST_VALUES:
        raise FieldError([field], f"holds {len(choices)} choices; legal: 1 to {MOST_VALUES}")
    if len(set(choices)) < len(choices):
        raise FieldError([field], f"{list(choices)} holds a value twice; write {sorted(set(choices))}")
    if list(choices) != sorted(choices):
        raise FieldError([field], f"{list(choices)} is not ascending; write {sorted(choices)}")


def make_divisible(value: float, divisor: int = 8, least: float = 0.9) -> int:
    """Return the multiple of ``divisor`` nearest to ``value``, at least ``divisor`` and the share ``least`` of it.

    Source: the rounding rule of the MobileNet family (Sandler et al., MobileNetV2, 2018,
    https://arxiv.org/abs/1801.04381, released code).
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < least * value else rounded
