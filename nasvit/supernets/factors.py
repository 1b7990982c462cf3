"""Factors of augmented networks on the widths and expand ratios of the tiny one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from search_spaces.ranges import Range

Factor = Annotated[float, Range(1, 64)]
Factors = tuple[Factor, ...]


def augmentation_factors(largest: float, diversity: int) -> Factors:
    """Return the evenly spaced factors of an augmentation factor and a diversity factor.

    ``augmentation_factors(3, 2)`` is ``(1, 2, 3)``.

    Args:
        largest: the augmentation factor r: the widest network over the tiny one.
        diversity: the diversity factor s: the steps between the two.

    Raises:
        ValueError: if the largest is below 1 or there is no step.

    Source: Cai et al. (2022), section 3.3, https://arxiv.org/abs/2110.08890
    """
    if largest < 1 or diversity < 1:
        raise ValueError(f"augmentation factor {largest}, diversity factor {diversity}: legal are numbers from 1 up")
    return tuple(dict.fromkeys(1 + (largest - 1) * step / diversity for step in range(diversity + 1)))


def checked_factors(name: str, factors: Sequence[float]) -> Factors:
    """Check factors and return them as a tuple.

    Raises:
        ValueError: if there are none, the least is not 1, or one is not finite.
    """
    if not factors or min(factors) != 1 or not all(map(math.isfinite, factors)):
        raise ValueError(f"{name}={list(factors)}; augmentation factors are finite and start at 1, the tiny network")
    return tuple(factors)
