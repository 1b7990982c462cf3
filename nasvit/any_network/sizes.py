"""Sizes of tensors as sums over groups: how large an axis is in every subnet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasvit.any_network.groups import Group
from nasvit.any_network.labels import Labels, LabelStore

Kept = NDArray[np.int64]
"""How many units of every group are kept, shape (groups,) or (subnets, groups)."""


@dataclass(frozen=True)
class Size:
    """The size of an axis: ``fixed + sum(times * kept[group])``.

    Args:
        fixed: positions that are in every subnet.
        times: group -> positions of each of its units.
    """

    fixed: int
    times: tuple[tuple[int, int], ...] = ()

    def at(self, kept: Kept) -> NDArray[np.int64]:
        """Return the size in every subnet, shape ``kept.shape[:-1]``."""
        return self.fixed + sum((times * kept[..., group] for group, times in self.times), np.int64(0))  # type: ignore[return-value]


class Sizes:
    """Turns labels into sizes.

    Args:
        store: the labels.
        groups: the groups.
    """

    def __init__(self, store: LabelStore, groups: Sequence[Group]) -> None:
        self.store, self.groups = store, groups
        self._unit_of: dict[int, tuple[int, int]] = {
            root: (number, unit)
            for number, group in enumerate(groups)
            for unit, root in enumerate(group.roots.tolist())
        }
        self._known: dict[int, tuple[Labels, Size]] = {}

    def of(self, labels: Labels) -> Size:
        """Return the size of an axis.

        Raises:
            Uneven: if the units of a group have different numbers of positions there.
        """
        known = self._known.get(id(labels))
        if known is None:
            known = self._known[id(labels)] = (labels, self._count(labels))  # the labels keep their id
        return known[1]

    def shape(self, shape: Sequence[int], axes: Mapping[int, Labels], kept: Kept) -> tuple[int, ...]:
        """Return the shape of a tensor in one subnet."""
        return tuple(int(self.of(axes[axis]).at(kept)) if axis in axes else size for axis, size in enumerate(shape))

    def _count(self, labels: Labels) -> Size:
        roots, counts = np.unique(self.store.roots(labels), return_counts=True)
        fixed, found = 0, dict[int, set[int]]()
        units: dict[int, int] = {}
        for root, count in zip(roots.tolist(), counts.tolist(), strict=True):
            if root not in self._unit_of:
                fixed += count
                continue
            group = self._unit_of[root][0]
            found.setdefault(group, set()).add(count)
            units[group] = units.get(group, 0) + 1
        uneven = [group for group, each in found.items() if len(each) > 1 or units[group] < self.groups[group].units]
        if uneven:
            raise Uneven(uneven)
        return Size(fixed, tuple((group, each.pop()) for group, each in found.items()))


class Uneven(Exception):
    """Groups whose units take up different numbers of positions somewhere, and so cannot be counted.

    Args:
        groups: their numbers.
    """

    def __init__(self, groups: list[int]) -> None:
        super().__init__(groups)
        self.groups = groups
