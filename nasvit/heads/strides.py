"""The strides of the backbone's maps that a pyramid takes."""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.values import FieldError


def check_strides(strides: Sequence[int]) -> None:
    """Refuse strides that no pyramid has.

    Raises:
        FieldError: naming them.
    """
    doubled = all(2 * one == other for one, other in zip(strides, strides[1:]))
    if not strides or strides[0] < 1 or not doubled:
        raise FieldError(["strides"], f"{list(strides)}; legal: each twice the one before, such as [8, 16, 32]")
