"""Checks and arithmetic that several parts of a search space share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

Number = int | float

MOST_VALUES = 256
"""Largest number of values of one decision: a population holds their indices as uint8."""


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
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def plain_number(value: Any) -> Number:
    """Return ``value`` as an int if it is whole, else as a float, so that equal numbers are equal texts.

    Raises:
        ValueError: ``value`` is not a finite number (a bool is none).
    """
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not (isinstance(value, Integral) or math.isfinite(value)):
        raise ValueError(f"{value!r} is not a finite number")
    return int(value) if value == int(value) else float(value)


def check_choices(field: str, choices: Sequence[Number], least: Number, odd: bool = False) -> None:
    """Refuse a list of choices that is no tuple, empty, unsorted, repeats itself or holds an illegal number.

    Args:
        field: name of the field, for messages.
        choices: the numbers to choose from, a tuple.
        least: the smallest legal number.
        odd: True if only odd numbers are legal.

    Raises:
        FieldError: naming the field, the value and the legal ones.
    """
    if not isinstance(choices, tuple):
        raise FieldError([field], f"{choices!r} is not a tuple of choices")
    if not choices:
        raise FieldError([field], "holds no choice; give at least one")
    if len(choices) > MOST_VALUES:
        raise FieldError([field], f"holds {len(choices)} choices; legal: 1 to {MOST_VALUES}")
    for choice in choices:
        if not choice >= least or (odd and choice % 2 != 1):
            raise FieldError([field], f"{choice} is illegal; legal: {'odd ' if odd else ''}numbers from {least} up")
    if len(set(choices)) < len(choices):
        raise FieldError([field], f"{list(choices)} holds a value twice; write {sorted(set(choices))}")
    if list(choices) != sorted(choices):
        raise FieldError([field], f"{list(choices)} is not ascending; write {sorted(choices)}")


def make_divisible(value: float, divisor: int = 8) -> int:
    """Return the multiple of ``divisor`` nearest to ``value``, at least ``divisor``, and never below 90% of ``value``.

    Source: the rounding rule of the MobileNet family (Sandler et al., MobileNetV2, 2018,
    https://arxiv.org/abs/1801.04381, released code).
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded
