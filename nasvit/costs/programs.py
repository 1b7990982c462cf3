"""What a network does with an image, as terms: its products, its parameters, and how long its memories are alive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from nasvit.any_network.attributes import small_network
from nasvit.any_network.copies import needless_copies
from nasvit.any_network.coupling import follow
from nasvit.any_network.followed import Axes, Followed, Product
from nasvit.any_network.groups import Group
from nasvit.any_network.plan import Plan, number_type
from nasvit.any_network.runs import Run, runs_of
from nasvit.any_network.sizes import Size, Sizes
from nasvit.any_network.terms import Integers, Interval, Subnets, Term
from nasvit.costs.counting import BYTES, int8_bytes


@dataclass(frozen=True)
class Program:
    """What a network does with an image of one size."""

    products: tuple[Term, ...]
    tensors: tuple[Term, ...]
    int8: tuple[Term, ...]
    intervals: tuple[Interval, ...]
    operations: int

    @classmethod
    def of(cls, bare: nn.Module, plan: Plan, channels: int, side: int) -> Program:
        image = torch.zeros(1, channels, side, side, device=plan.device, dtype=number_type(bare))
        found = follow(bare, image, dict(plan.choices), plan.ties)
        builder = _Builder(bare, plan, found, image)
        return cls(
            tuple(builder.products()),
            tuple(builder.parameters()),
            tuple(builder.int8()),
            tuple(builder.intervals()),
            len(found.operations),
        )

    def macs(self, subnets: Subnets) -> Integers:
        return sum((term.of(subnets) for term in self.products), np.zeros(len(subnets.kept), np.int64))

    def params(self, subnets: Subnets) -> Integers:
        return sum((term.of(subnets) for term in self.tensors), np.zeros(len(subnets.kept), np.int64))

    def int8_size(self, subnets: Subnets) -> Integers:
        return sum((term.of(subnets) for term in self.int8), np.zeros(len(subnets.kept), np.int64))

    def memory(self, subnets: Subnets) -> Integers:
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

    def products(self) -> list[Term]:
        terms = []
        for operation in self.found.operations:
            if operation.macs is not None:
                terms.append(replace(self._product(operation.macs), block=self._block(operation.path)))
        return terms

    def _product(self, macs: Product) -> Term:
        sizes = tuple(map(self.sizes.of, macs.factors))
        path = macs.weight.rpartition(".")[0]
        side = self.plan.kernels.get(path)
        return Term(macs.fixed, sizes) if side is None else Term(macs.fixed // side**2, sizes, path)

    def parameters(self) -> list[Term]:
        return [self._values(name, parameter) for name, parameter in self.bare.named_parameters()]

    def int8(self) -> list[Term]:
        """Return the bytes of every parameter where weights are integers of 8 bits, and those of its channels."""
        terms = []
        for name, parameter in self.bare.named_parameters():
            path, _, own = name.rpartition(".")
            a_value, a_channel = int8_bytes(self.bare.get_submodule(path), own)
            values = self._values(name, parameter)
            terms.append(replace(values, fixed=a_value * values.fixed))
            if a_channel:
                channels = self._values(name, parameter, axes=1)
                terms.append(replace(channels, fixed=a_channel * channels.fixed))
        return terms

    def _values(self, name: str, parameter: Tensor, axes: int | None = None) -> Term:
        """Return the number of values of a parameter, or of those along its first axes only."""
        path, _, own = name.rpartition(".")
        kernel = path if own == "weight" and path in self.plan.kernels and axes is None else ""
        shape = parameter.shape[:2] if kernel else parameter.shape[:axes]
        labels = self.found.tensors.get(name, {})
        free = {axis: each for axis, each in labels.items() if axis < len(shape)}
        fixed = math.prod(size for axis, size in enumerate(shape) if axis not in free)
        sizes = tuple(self.sizes.of(each) for each in free.values())
        return Term(fixed, sizes, kernel, self._block(_parents(path)))

    def intervals(self) -> list[Interval]:
        """Return how long every memory is alive, the image's from the beginning to the end."""
        end = len(self.found.operations)
        terms: dict[int, Interval] = {0: Interval(Term(self.image.numel(), ()), 0, end)}
        for number, operation in enumerate(self.found.operations):
            for made in operation.made:
                if made.is_new:
                    term = replace(self._numel(made.shape, made.axes), block=self._block(operation.path))
                    terms[made.memory] = Interval(term, number, self.found.freed.get(made.memory, end))
        intervals = self._with_needless_copies(terms)
        for run in runs_of(self.bare, self.found):
            planned = next((each for each in self.plan.runs if each.name == run.name), None)
            if planned is not None:
                intervals += self._held_on(run, terms)
        return intervals

    def _held_on(self, run: Run, terms: dict[int, Interval]) -> list[Interval]:
        """Return what lives longer where blocks are left out: what goes into the first of them takes their place."""
        memories = [run.calls[0].memories[0], *(call.memories[1] for call in run.calls)]
        last = terms[memories[-1]].last if memories[-1] in terms else None
        held = []
        for left, memory in enumerate(memories[:-1]):
            if last is not None and memory in terms and memory != memories[-1] and terms[memory].last < last:
                term, depth = terms[memory].term, len(run.blocks) - len(run.calls) + left
                held.append(Interval(replace(term, block=None), terms[memory].last, last, (run.name, depth)))
        return held

    def _with_needless_copies(self, terms: dict[int, Interval]) -> list[Interval]:
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

    def _numel(self, shape: Sequence[int], axes: Axes) -> Term:
        fixed = math.prod(size for axis, size in enumerate(shape) if axis not in axes)
        return Term(fixed, tuple(map(self.sizes.of, axes.values())))

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
