"""Numbers that depend on the sizes of subnets, computed for whole populations at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasvit.any_network.plan import Plan
from nasvit.any_network.sizes import Kept, Size
from search_spaces.elastic import ElasticSpace
from search_spaces.genome import Population

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Subnets:
    """Sizes of some subnets.

    Args:
        kept: units of every group, shape (subnets, groups).
        depth: name of a run -> its blocks, shape (subnets,).
        area: path of a convolution with elastic kernel -> area of it, shape (subnets,).
    """

    kept: Kept
    depth: dict[str, Integers]
    area: dict[str, Integers]

    @classmethod
    def of(cls, plan: Plan, space: ElasticSpace, population: Population) -> Subnets:
        sizes, count = space.sizes(population), len(population)
        columns = [sizes.get(f"width.{group.name}", np.full(count, group.units)) for group in plan.groups]
        kept = np.stack(columns, axis=1) if columns else np.zeros((count, 0), np.int64)
        depth = {run.name: sizes.get(f"depth.{run.name}", np.full(count, len(run.blocks))) for run in plan.runs}
        sides = {path: sizes.get(f"kernel_size.{path}", np.full(count, side)) for path, side in plan.kernels.items()}
        return cls(kept, depth, {path: each**2 for path, each in sides.items()})


@dataclass(frozen=True)
class Term:
    """A number times sizes, times a kernel's area, where a block is there.

    Args:
        fixed: the number.
        sizes: the sizes.
        kernel: path of the convolution with the kernel; empty: none.
        block: run and number of the block that it belongs to; None: it is always there.
    """

    fixed: int
    sizes: tuple[Size, ...]
    kernel: str = ""
    block: tuple[str, int] | None = None

    def of(self, subnets: Subnets) -> Integers:
        value: Any = np.full(len(subnets.kept), self.fixed, np.int64)
        for size in self.sizes:
            value *= size.at(subnets.kept)
        if self.kernel:
            value *= subnets.area[self.kernel]
        if self.block is not None:
            value *= subnets.depth[self.block[0]] > self.block[1]
        return value  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Interval:
    """Memory that is alive from one operation to before another.

    Args:
        term: how much.
        first: number of the operation that makes it.
        last: one more than the number of the last operation that it is alive at.
        depth: run and the only depth of it at which it is; None: any.
        unless: groups of which one unit alone means that it is not there.
        only: groups of which one unit alone means that it is; empty: it always is.
    """

    term: Term
    first: int
    last: int
    depth: tuple[str, int] | None = None
    unless: tuple[int, ...] = ()
    only: tuple[int, ...] = ()

    def of(self, subnets: Subnets) -> Integers:
        value = self.term.of(subnets)
        if self.depth is not None:
            value = value * (subnets.depth[self.depth[0]] == self.depth[1])
        if self.unless:
            value = value * (subnets.kept[:, self.unless] > 1).all(axis=1)
        if self.only:
            value = value * (subnets.kept[:, self.only] == 1).any(axis=1)
        return value
