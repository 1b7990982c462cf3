"""The strides of the backbone's maps that a pyramid takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from search_spaces.ranges import Range
from search_spaces.values import FieldError

Stride = Annotated[int, Range(1, 1024)]


def check_strides(strides: Sequence[int]) -> None:
    """Refuse strides that no pyramid has.

    Raises:
        FieldError: naming them.
    """
    doubled = all(2 * one == other for one, other in zip(strides, strides[1:]))
    if not strides or not doubled:
        raise FieldError(["strides"], f"{list(strides)}; legal: each twice the one before, such as [8, 16, 32]")
