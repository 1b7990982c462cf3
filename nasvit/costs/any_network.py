"""What the subnets of an elastic network cost, for whole populations at once, exact to the integer.

Every operation's multiply-adds are a product of sizes, and so is the memory of every tensor; sizes are sums over the
units that are kept. So costs are arithmetic on what was followed once, and equal what is counted on extracted subnets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nasvit.any_network.attributes import small_network
from nasvit.any_network.copies import needless_copies
from nasvit.any_network.coupling import follow
from nasvit.any_network.following import Axes, Followed, Product
from nasvit.any_network.groups import Group
from nasvit.any_network.plan import Plan, number_type, on_meta
from nasvit.any_network.runs import Run, runs_of
from nasvit.any_network.sizes import Kept, Size, Sizes
from nasvit.costs.counting import BYTES
from predictors.cost import METRICS
from search_spaces.elastic import ElasticSpace
from search_spaces.genome import Population

Integers = NDArray[np.int64]
_CHUNK = 2048  # subnets at once, so that what is alive at every operation fits into memory


class ElasticCosts:
    """Costs of the subnets of an elastic network.

    Args:
        network: the network.
        plan: what can be decided in it.
        space: its space.
    """

    def __init__(self, network: nn.Module, plan: Plan, space: ElasticSpace) -> None:
        self.plan, self.space, self.genes = plan, space, len(space.genome)
        bare = on_meta(network)
        self._at = {side: _Program.of(bare, plan, space.image_channels, side) for side in space.resolution}

    def costs(self, population: Population, metrics: Sequence[str] = tuple(METRICS)) -> dict[str, Integers]:
        """Return several costs by name, each of shape ``(n,)``.

        Args:
            population: rows of the space, shape ``(n, genes)``.
            metrics: names of ``macs``, ``params`` and ``memory``; see :class:`nasvit.costs.counting.Cost`.
        """
        found = {metric: np.zeros(len(population), np.int64) for metric in metrics}
        resolution = self.space.sizes(population)["resolution"]
        for side, program in self._at.items():
            (rows,) = np.nonzero(resolution == side)
            for start in range(0, len(rows), _CHUNK):
                some = rows[start : start + _CHUNK]
                subnets = _Subnets.of(self.plan, self.space, population[some])
                for metric in metrics:
                    found[metric][some] = getattr(program, metric)(subnets)
        return found


@dataclass(frozen=True)
class _Subnets:
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
    def of(cls, plan: Plan, space: ElasticSpace, population: Population) -> _Subnets:
        sizes, count = space.sizes(population), len(population)
        columns = [sizes.get(f"width.{group.name}", np.full(count, group.units)) for group in plan.groups]
        kept = np.stack(columns, axis=1) if columns else np.zeros((count, 0), np.int64)
        depth = {run.name: sizes.get(f"depth.{run.name}", np.full(count, len(run.blocks))) for run in plan.runs}
        sides = {path: sizes.get(f"kernel_size.{path}", np.full(count, side)) for path, side in plan.kernels.items()}
        return cls(kept, depth, {path: each**2 for path, each in sides.items()})


@dataclass(frozen=True)
class _Term:
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

    def of(self, subnets: _Subnets) -> Integers:
        value: Any = np.full(len(subnets.kept), self.fixed, np.int64)
        for size in self.sizes:
            value *= size.at(subnets.kept)
        if self.kernel:
            value *= subnets.area[self.kernel]
        if self.block is not None:
            value *= subnets.depth[self.block[0]] > self.block[1]
        return value  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Interval:
    """Memory that is alive from one operation to before another.

    Args:
        term: how much.
        first: number of the operation that makes it.
        last: one more than the number of the last operation that it is alive at.
        depth: run and the only depth of it at which it is; None: any.
        unless: groups of which one unit alone means that it is not there.
        only: groups of which one unit alone means that it is; empty: it always is.
    """

    term: _Term
    first: int
    last: int
    depth: tuple[str, int] | None = None
    unless: tuple[int, ...] = ()
    only: tuple[int, ...] = ()

    def of(self, subnets: _Subnets) -> Integers:
        value = self.term.of(subnets)
        if self.depth is not None:
            value = value * (subnets.depth[self.depth[0]] == self.depth[1])
        if self.unless:
            value = value * (subnets.kept[:, self.unless] > 1).all(axis=1)
        if self.only:
            value = value * (subnets.kept[:, self.only] == 1).any(axis=1)
        return value


@dataclass(frozen=True)
class _Program:
    """What a network does with an image of one size."""

    products: tuple[_Term, ...]
    tensors: tuple[_Term, ...]
    intervals: tuple[_Interval, ...]
    operations: int

    @classmethod
    def of(cls, bare: nn.Module, plan: Plan, channels: int, side: int) -> _Program:
        image = torch.empty(1, channels, side, side, device="meta", dtype=number_type(bare))
        found = follow(bare, image, dict(plan.choices), plan.ties)
        builder = _Builder(bare, plan, found, image)
        return cls(
            tuple(builder.products()),
            tuple(builder.parameters()),
            tuple(builder.intervals()),
            len(found.operations),
        )

    def macs(self, subnets: _Subnets) -> Integers:
        return sum((term.of(subnets) for term in self.products), np.zeros(len(subnets.kept), np.int64))

    def params(self, subnets: _Subnets) -> Integers:
        return sum((term.of(subnets) for term in self.tensors), np.zeros(len(subnets.kept), np.int64))

    def memory(self, subnets: _Subnets) -> Integers:
        changes = np.zeros((self.operations + 1, len(subnets.kept)), np.int64)
        for interval in self.intervals:
            value = interval.of(subnets)
            changes[interval.first] += value
            changes[interval.last] -= value
        peak: Integers = np.cumsum(changes, axis=0).max(axis=0) * BYTES
        return peak


class _Builder:
    """Turns what was followed into terms."""

    def __init__(self, bare: nn.Module, plan: Plan, found: Followed, image: Tensor) -> None:
        self.bare, self.plan, self.found, self.image = bare, plan, found, image
        groups = [_found_again(group, found) for group in plan.groups]
        self.sizes = Sizes(found.store, groups)
        self._block_of = {
            path: (run.name, number)
            for run in plan.runs
            for number, path in enumerate(run.blocks)
            if number >= run.fewest
        }

    def products(self) -> list[_Term]:
        terms = []
        for operation in self.found.operations:
            if operation.macs is not None:
                terms.append(replace(self._product(operation.macs), block=self._block(operation.path)))
        return terms

    def _product(self, macs: Product) -> _Term:
        sizes = tuple(map(self.sizes.of, macs.factors))
        path = macs.weight.rpartition(".")[0]
        side = self.plan.kernels.get(path)
        return _Term(macs.fixed, sizes) if side is None else _Term(macs.fixed // side**2, sizes, path)

    def parameters(self) -> list[_Term]:
        terms = []
        for name, parameter in self.bare.named_parameters():
            path, _, own = name.rpartition(".")
            axes = self.found.tensors.get(name, {})
            kernel = path if own == "weight" and path in self.plan.kernels else ""
            free = {axis: labels for axis, labels in axes.items() if not (kernel and axis > 1)}
            fixed = math.prod(s for axis, s in enumerate(parameter.shape) if axis not in free and not (kernel and axis > 1))
            sizes = tuple(self.sizes.of(labels) for labels in free.values())
            terms.append(_Term(fixed, sizes, kernel, self._block(_parents(path))))
        return terms

    def intervals(self) -> list[_Interval]:
        """Return how long every memory is alive, the image's from the beginning to the end."""
        end = len(self.found.operations)
        terms: dict[int, _Interval] = {0: _Interval(_Term(self.image.numel(), ()), 0, end)}
        for number, operation in enumerate(self.found.operations):
            for made in operation.made:
                if made.is_new:
                    term = replace(self._numel(made.shape, made.axes), block=self._block(operation.path))
                    terms[made.memory] = _Interval(term, number, self.found.freed.get(made.memory, end))
        intervals = self._with_needless_copies(terms)
        for run in runs_of(self.bare, self.found):
            planned = next((each for each in self.plan.runs if each.name == run.name), None)
            if planned is not None:
                intervals += self._held_on(run, terms)
        return intervals

    def _held_on(self, run: Run, terms: dict[int, _Interval]) -> list[_Interval]:
        """Return what lives longer where blocks are left out: what goes into the first of them takes their place."""
        memories = [run.calls[0].memories[0], *(call.memories[1] for call in run.calls)]
        last = terms[memories[-1]].last if memories[-1] in terms else None
        held = []
        for left, memory in enumerate(memories[:-1]):
            if last is not None and memory in terms and memory != memories[-1] and terms[memory].last < last:
                term, depth = terms[memory].term, len(run.blocks) - len(run.calls) + left
                held.append(_Interval(replace(term, block=None), terms[memory].last, last, (run.name, depth)))
        return held

    def _with_needless_copies(self, terms: dict[int, _Interval]) -> list[_Interval]:
        """Return the intervals where what is copied lives on instead of a copy that is not made."""
        copies = needless_copies(self.small(), self.image, self.found.operations)
        sources: dict[int, int] = {}
        longer = []
        for number in copies:
            operation = self.found.operations[number]
            (made,) = operation.made
            alone = tuple(group for labels in made.axes.values() for group in self._alone(self.sizes.of(labels)))
            if not alone or not made.is_new:
                continue
            copy = terms[made.memory]
            source = sources[made.memory] = sources.get(operation.source, operation.source)
            terms[made.memory] = replace(copy, unless=alone)
            if source in terms and terms[source].last < copy.last:
                longer.append(replace(terms[source], first=terms[source].last, last=copy.last, only=alone))
        return [*terms.values(), *longer]

    def _alone(self, size: Size) -> list[int]:
        """Return the group that an axis consists of, one position for each unit."""
        return [group for group, times in size.times if times == 1 and not size.fixed and len(size.times) == 1]

    def small(self) -> nn.Module:
        """Return the network with one unit of every group."""
        kept = np.ones(len(self.plan.groups), np.int64)
        return small_network(self.bare, self.plan.groups, self.plan.attributes, kept)

    def _numel(self, shape: Sequence[int], axes: Axes) -> _Term:
        fixed = math.prod(size for axis, size in enumerate(shape) if axis not in axes)
        return _Term(fixed, tuple(map(self.sizes.of, axes.values())))

    def _block(self, path: Sequence[str]) -> tuple[str, int] | None:
        """Return the innermost removable block among modules."""
        return next((self._block_of[each] for each in path if each in self._block_of), None)


def _parents(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]


def _found_again(group: Group, found: Followed) -> Group:
    """Return a group with the labels that it has where the network was followed another time."""
    (name, axis), positions = next(iter(group.places.items()))
    return replace(group, roots=found.store.roots(found.tensors[name][axis][positions[:, 0]]))
