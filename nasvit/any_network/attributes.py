"""Numbers that a network's code reads from attributes, such as the number of heads, and that follow its channels.

They are found by value: where a smaller network does something else than was foreseen, the attributes of the module
that did it are looked through for numbers that equal a size of the channels in question, and those that let it go on
as foreseen are kept. What a class needs is remembered. What they do not find can be declared:

    declare(MyAttention, "_heads")         # private ones are not looked at by themselves
    declare(MyTable, ("shape", 2))         # the third number of a tuple or list
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations, islice
from typing import Any

import numpy as np
from torch import Tensor, nn

from nasvit.any_network.agreement import Difference, first_difference
from nasvit.any_network.followed import Step
from nasvit.any_network.groups import Group
from nasvit.any_network.shell import shell_of
from nasvit.any_network.sizes import Kept, Size, Sizes

_TOGETHER = 3  # attributes that are tried together at most
_TRIALS = 40  # trials for one module at most


@dataclass(frozen=True)
class Attribute:
    """An attribute that follows the size of a group.

    Args:
        path: path of the module.
        name: name of the attribute.
        entry: position in it if it is a tuple or list; None: it is the number itself.
        size: its value.
    """

    path: str
    name: str
    entry: int | None
    size: Size

    @property
    def kind(self) -> Kind:
        """Name and position, which are the same in all modules of a class."""
        return self.name, self.entry

    def renumbered(self, number_of: Mapping[int, int]) -> Attribute:
        """Return the attribute where the groups have other numbers."""
        times = tuple((number_of[group], each) for group, each in self.size.times)
        return replace(self, size=Size(self.size.fixed, times))


def values_of(network: nn.Module, attributes: Iterable[Attribute], kept: Kept) -> dict[str, dict[str, Any]]:
    """Return path of a module -> attribute -> value in one subnet."""
    values: dict[str, dict[str, Any]] = {}
    for each in attributes:
        own = values.setdefault(each.path, {})
        value = int(each.size.at(kept))
        if each.entry is None:
            own[each.name] = value
            continue
        before = own.get(each.name, getattr(network.get_submodule(each.path), each.name))
        own[each.name] = type(before)(
            value if position == each.entry else other for position, other in enumerate(before)
        )
    return values


Kind = tuple[str, "int | None"]
"""Name of an attribute, and position in it if it is a tuple or list."""

_DECLARED: dict[str, tuple[Kind, ...]] = {}


def declare(module: type[nn.Module], *attributes: str | tuple[str, int]) -> None:
    """Say that attributes of a class follow its channels, so that they are tried before others, and all together.

    Args:
        module: the class.
        attributes: names, or names and positions in tuples and lists. A value that equals no size of the module's
            tensors is left alone.
    """
    kinds = tuple((each, None) if isinstance(each, str) else each for each in attributes)
    _DECLARED[module.__name__] = (*_DECLARED.get(module.__name__, ()), *kinds)


class Search:
    """Finds which attributes follow which groups, and which groups the code cannot do with fewer units of.

    Args:
        network: the network, on the device of the image.
        image: what it gets.
        steps: what its code called.
        sizes: sizes of its labels.
        groups: its groups.
    """

    def __init__(
        self, network: nn.Module, image: Tensor, steps: Sequence[Step], sizes: Sizes, groups: Sequence[Group]
    ) -> None:
        self.network, self.image, self.steps = network, image, steps
        self.sizes, self.groups = sizes, groups
        self.attributes: list[Attribute] = []
        self.problems: dict[int, str] = {}
        self.together: dict[int, set[int]] = {}  # group with a problem -> the groups of the module that has it
        self._remembered: dict[str, list[tuple[Kind, ...]]] = {}
        for kind, declared in _DECLARED.items():
            self._remembered[kind] = [declared, *((each,) for each in declared if len(declared) > 1)]
        self._failed: set[tuple[str, str, tuple[Kind, ...]]] = set()

    def run(self, kept: Kept) -> None:
        """Find what is needed for a subnet; afterwards it runs as foreseen, with ``problems`` at full size.

        Args:
            kept: units of every group, shape (groups,).
        """
        whole = np.array([group.units for group in self.groups])
        difference = self._difference(self._without_problems(kept), self.attributes)
        while difference is not None:
            kept_now = self._without_problems(kept)
            found = self._attributes_for(difference, kept_now)
            if found is not None:
                attributes, difference = found
                self.attributes = attributes
                continue
            blamed = self._blamed(difference, kept_now, whole)
            if not blamed:
                raise RuntimeError(f"the whole network does not run as it did: {difference.problem}")
            for group in blamed:
                where = difference.step.path[-1] or "the network itself"
                self.problems[group] = f"the code of {where} does not follow it: {difference.problem}"
                self.together[group] = self._groups_of(self._inside(difference.step.path[-1]))
            difference = self._difference(self._without_problems(kept), self.attributes)

    def _without_problems(self, kept: Kept) -> Kept:
        whole = kept.copy()
        for group in self.problems:
            whole[group] = self.groups[group].units
        return whole

    def _difference(self, kept: Kept, attributes: Sequence[Attribute]) -> Difference | None:
        small = small_network(self.network, self.groups, attributes, kept)
        return first_difference(small, self.image, self.steps, self.sizes, kept)

    def _attributes_for(self, difference: Difference, kept: Kept) -> tuple[list[Attribute], Difference | None] | None:
        """Return the attributes with those that let the network get further, and where it differs next."""
        for path in self._near(difference.step):
            candidates = self._candidates(path, kept)
            kind = type(self.network.get_submodule(path)).__name__
            for chosen in self._trials(kind, candidates):
                kinds = tuple(each.kind for each in chosen)
                if (kind, difference.step.name, kinds) in self._failed:  # in another module of this class
                    continue
                attributes = [*self.attributes, *chosen]
                after = self._difference(kept, attributes)
                if after is None or after.position > difference.position:
                    self._remembered.setdefault(kind, []).insert(0, kinds)
                    return self._in_all_alike(kind, kinds, attributes, kept, after)
                self._failed.add((kind, difference.step.name, kinds))
        return None

    def _near(self, step: Step) -> Iterator[str]:
        """Yield the modules whose attributes a step may have read: the one that ran, its parts, and those around it."""
        innermost = step.path[-1]
        yield innermost
        for name, _ in self.network.get_submodule(innermost).named_modules():
            if name:
                yield f"{innermost}.{name}" if innermost else name
        yield from reversed(step.path[:-1])

    def _in_all_alike(
        self,
        kind: str,
        kinds: tuple[Kind, ...],
        attributes: list[Attribute],
        kept: Kept,
        after: Difference | None,
    ) -> tuple[list[Attribute], Difference | None]:
        """Try at once, in all other modules of a class, what one of them needed."""
        if after is None:
            return attributes, after
        known = {(each.path, *each.kind) for each in attributes}
        more = list(attributes)
        for path, module in self.network.named_modules():
            if type(module).__name__ == kind:
                candidates = self._candidates(path, kept)
                options = [[each for each in candidates if each.kind == wanted] for wanted in kinds]
                if all(options):
                    more += [each[0] for each in options if (path, *each[0].kind) not in known]
        further = self._difference(kept, more)
        if further is None or further.position >= after.position:
            return more, further
        return attributes, after

    def _trials(self, kind: str, candidates: Sequence[Attribute]) -> Iterator[tuple[Attribute, ...]]:
        for kinds in self._remembered.get(kind, []):
            options = [[each for each in candidates if each.kind == wanted] for wanted in kinds]
            if all(options):
                yield tuple(each[0] for each in options)
        count = min(_TOGETHER, len(candidates))
        trials = chain.from_iterable(combinations(candidates, number) for number in range(1, count + 1))
        sensible = (trial for trial in trials if len({each.kind for each in trial}) == len(trial))
        yield from islice(sensible, _TRIALS)

    def _candidates(self, path: str, kept: Kept) -> list[Attribute]:
        """Return the attributes of a module that equal a size of groups that are smaller now."""
        known = {(each.path, *each.kind) for each in self.attributes}
        sizes = self._sizes_in(path, kept)
        return [
            Attribute(path, name, entry, size)
            for name, entry, value in _numbers(self.network.get_submodule(path))
            if (path, name, entry) not in known
            for size in sizes.get(value, ())
        ]

    def _sizes_in(self, path: str, kept: Kept) -> dict[int, list[Size]]:
        """Return value in the whole network -> the sizes that have it, of the tensors made in a module.

        For a module that does not run itself, such as one that holds a table, they are those of its parent.
        """
        found: dict[Size, None] = {}
        for step in self._inside(path) or self._inside(path.rpartition(".")[0]):
            for axes in step.axes:
                found |= dict.fromkeys(self.sizes.of(labels) for labels in axes.values())
        whole = np.array([group.units for group in self.groups])
        shrinking = [size for size in found if int(size.at(kept)) < int(size.at(whole))]
        units = [Size(0, ((group, 1),)) for group in dict.fromkeys(g for size in shrinking for g, _ in size.times)]
        by_value: dict[int, list[Size]] = {}
        for size in dict.fromkeys([*shrinking, *units]):
            by_value.setdefault(int(size.at(whole)), []).append(size)
        return by_value

    def _blamed(self, difference: Difference, kept: Kept, whole: Kept) -> list[int]:
        """Return the groups that are smaller now and have to do with an operation, or else with its module."""
        smaller = set(np.flatnonzero(kept < whole).tolist())
        near = self.steps[max(difference.position - 3, 0) : difference.position + 1]
        inside = (self._inside(path) for path in reversed(difference.step.path))
        for steps in ([difference.step], near, *inside):
            groups = self._groups_of(steps) & smaller
            if groups:
                return sorted(groups)
        return sorted(smaller)

    def _inside(self, path: str) -> list[Step]:
        return [each for each in self.steps if path in each.path]

    def _groups_of(self, steps: Iterable[Step]) -> set[int]:
        labels = [each for step in steps for axes in step.axes for each in axes.values()]
        return {group for each in labels for group, _ in self.sizes.of(each).times}


def _numbers(module: nn.Module) -> Iterator[tuple[str, int | None, int]]:
    """Yield the whole numbers among a module's attributes: name, position in a list, value."""
    declared = {name for name, _ in _DECLARED.get(type(module).__name__, ())}
    for name, value in vars(module).items():
        if name.startswith("_") and name not in declared:
            continue
        if type(value) is int:
            yield name, None, value
        elif type(value) in (tuple, list):
            yield from ((name, entry, each) for entry, each in enumerate(value) if type(each) is int)


def small_network(
    network: nn.Module, groups: Sequence[Group], attributes: Iterable[Attribute], kept: Kept
) -> nn.Module:
    """Return a network without numbers, with tensors of the sizes of one subnet, to see whether it runs."""
    lost: dict[tuple[str, int], int] = {}
    for number, group in enumerate(groups):
        for place, positions in group.places.items():
            lost[place] = lost.get(place, 0) + positions.shape[1] * (group.units - int(kept[number]))

    def resized(name: str, tensor: Tensor, module: nn.Module) -> Tensor:
        shape = [size - lost.get((name, axis), 0) for axis, size in enumerate(tensor.shape)]
        if shape == [*tensor.shape]:
            return tensor
        small = tensor.new_empty(shape)
        return nn.Parameter(small, requires_grad=False) if isinstance(tensor, nn.Parameter) else small

    return shell_of(network, resized, values_of(network, attributes, kept))
