"""What can be decided in a network: found on the meta device, without its weights, and tried there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from nasvit.any_network.agreement import Difference, first_difference
from nasvit.any_network.attributes import Attribute, Search
from nasvit.any_network.coupling import Spots, Tie, follow
from nasvit.any_network.following import Followed, Step
from nasvit.any_network.groups import Fixed, Group, groups_of
from nasvit.any_network.refusals import refuse_computed_weights
from nasvit.any_network.runs import Run, croppable_kernels, cropped, runs_of
from nasvit.any_network.shell import shell_of
from nasvit.any_network.sizes import Kept, Sizes, Uneven

T = TypeVar("T")

_ROUNDS = 20  # a reshaping has few parts that could be the unit
_CHECKS = 3  # random subnets that are tried


@dataclass(frozen=True)
class Plan:
    """What can be decided in a network.

    Args:
        groups: channels that can be fewer, unit by unit.
        attributes: numbers of the network's code that follow them.
        runs: blocks of which the last can be left out.
        kernels: path of a convolution -> side of its kernel, which can be cropped.
        fixed: what has to stay, and why.
        found: how the channels hang together.
        choices: place where channels are divided in one of several ways -> number of the way.
        ties: channels of which the code expects equally many, although no operation ties them.
    """

    groups: tuple[Group, ...]
    attributes: tuple[Attribute, ...]
    runs: tuple[Run, ...]
    kernels: Mapping[str, int]
    fixed: tuple[Fixed, ...]
    found: Followed
    choices: Mapping[str, int]
    ties: tuple[Tie, ...] = ()

    def __deepcopy__(self, memo: dict[int, object]) -> Plan:
        return self  # nothing in it ever changes

    @cached_property
    def sizes(self) -> Sizes:
        """The sizes of all labels."""
        return Sizes(self.found.store, self.groups)

    @cached_property
    def whole(self) -> Kept:
        """The units of every group in the network itself, shape (groups,)."""
        return np.array([group.units for group in self.groups], dtype=np.int64)


def on_meta(network: nn.Module) -> nn.Module:
    """Return a copy of a network without its numbers, in evaluation mode."""

    def empty(name: str, tensor: Tensor, module: nn.Module) -> Tensor:
        bare = torch.empty_like(tensor, device="meta")
        return nn.Parameter(bare, requires_grad=False) if isinstance(tensor, nn.Parameter) else bare

    return shell_of(network, empty, {}).eval()


def plan_of(network: nn.Module, image: Tensor) -> Plan:
    """Find what can be decided in a network.

    Args:
        network: any network of one image tensor.
        image: an image of the size it is for, or a batch; only its shape counts.

    Raises:
        ValueError: if the network cannot be run on the meta device with such an image, or computes its weights.
    """
    refuse_computed_weights(network)
    bare = on_meta(network)
    images = torch.empty(2, *image.shape[-3:], device="meta", dtype=number_type(network))
    choices: dict[str, int] = {}
    ties: list[Tie] = []
    for _ in range(_ROUNDS):
        found = _followed(bare, images, choices, ties)
        groups, fixed = _even_groups(found)
        search = Search(bare, images, found.steps, Sizes(found.store, groups), groups)
        for kept in _trials(groups):
            search.run(kept)
        more = _more_ties(search, ties)
        if more:
            ties += more
            continue
        again = _next_choices(found, [groups[number] for number in search.problems], choices)
        if again is None:
            break
        choices = again
    free = [number for number in range(len(groups)) if number not in search.problems]
    fixed += [Fixed(groups[number].name, groups[number].units, why) for number, why in search.problems.items()]
    trial = _Trial(bare, images, found, search)
    runs = tuple(_working(runs_of(bare, found), trial.runs_without))
    sides = {path: module.kernel_size[0] for path, module in croppable_kernels(bare, found)}
    kernels = {path: sides[path] for path in _working([*sides], trial.crops)}
    return replace(_without(found, groups, free, search.attributes, runs, kernels, fixed), choices=choices, ties=tuple(ties))


def number_type(network: nn.Module) -> torch.dtype:
    """Return the type of the numbers that a network computes with."""
    tensors = (*network.parameters(), *network.buffers())
    return next((each.dtype for each in tensors if each.is_floating_point()), torch.float32)


def _followed(bare: nn.Module, images: Tensor, choices: dict[str, int], ties: Sequence[Tie]) -> Followed:
    try:
        return follow(bare, images, choices, ties)
    except Exception as error:
        size = "x".join(map(str, images.shape[1:]))
        raise ValueError(
            f"{type(bare).__name__} does not run on an image of shape {size} on the meta device: "
            f"{type(error).__name__}: {error}"
        ) from error


def _even_groups(found: Followed) -> tuple[list[Group], list[Fixed]]:
    """Return groups whose sizes can be counted everywhere; the others are frozen."""
    while True:
        groups, fixed = groups_of(found)
        sizes = Sizes(found.store, groups)
        uneven: set[int] = set()
        for labels in _all_labels(found):
            try:
                sizes.of(labels)
            except Uneven as error:
                uneven |= {*error.groups}
        if not uneven:
            return groups, fixed
        for number in uneven:
            found.store.freeze(groups[number].roots, "its units take up different numbers of channels somewhere")


def _all_labels(found: Followed) -> list[np.ndarray]:  # type: ignore[type-arg]
    made = [each.axes for operation in found.operations for each in operation.made]
    stepped = [axes for step in found.steps for axes in step.axes]
    factors = [labels for each in found.operations if each.macs for labels in each.macs.factors]
    return [labels for axes in (*made, *stepped) for labels in axes.values()] + factors


def _trials(groups: Sequence[Group]) -> list[Kept]:
    """Return the subnets that are tried: one unit less, half of each, one of each, and random ones."""
    units = np.array([group.units for group in groups], dtype=np.int64)
    rng = np.random.default_rng(0)
    return [-(-units // 2), np.ones_like(units), *(rng.integers(1, units + 1) for _ in range(_CHECKS))]


def _more_ties(search: Search, ties: Sequence[Tie]) -> list[Tie]:
    """Return ties of groups that one module's code does not follow, perhaps as it takes their numbers for one."""
    more: list[Tie] = []
    for number in search.problems:
        for other in sorted(search.together[number].intersection(search.problems)):
            tie = None if other <= number else _tie(search.groups[number], search.groups[other])
            if tie is not None and tie not in (*ties, *more):
                more.append(tie)
    return more


def _tie(first: Group, second: Group) -> Tie | None:
    """Return a tie of groups with equally many units, or of axes with equally many channels; None: there is none."""
    if first.units == second.units:
        return _spots_of_units(first), _spots_of_units(second)
    axes = _whole_axis(first), _whole_axis(second)
    if axes[0] is None or axes[1] is None or len(axes[0][2]) != len(axes[1][2]):
        return None
    return axes[0], axes[1]


def _spots_of_units(group: Group) -> Spots:
    """Return one position of every unit."""
    (name, axis), positions = next(iter(group.places.items()))
    return name, axis, tuple(positions[:, 0].tolist())


def _whole_axis(group: Group) -> Spots | None:
    """Return all positions of an axis that holds nothing but a group; None: there is none."""
    for (name, axis), positions in group.places.items():
        if positions.max() == positions.size - 1:
            return name, axis, tuple(range(positions.size))
    return None


def _next_choices(found: Followed, failed: Sequence[Group], choices: dict[str, int]) -> dict[str, int] | None:
    """Return other units for reshapings of channels that the code does not follow; None: there are none left."""
    roots = np.concatenate([np.empty(0, np.int64), *(group.roots for group in failed)])
    again = dict(choices)
    for place, split in found.splits.items():
        touched = np.isin(found.store.roots(split.labels), roots).any()
        if touched and choices.get(place, 0) + 1 < split.options:
            again[place] = choices.get(place, 0) + 1
    return None if again == choices else again


def _working(parts: Sequence[T], trial: Callable[[Sequence[T]], Difference | None]) -> Sequence[T]:
    """Return the parts without which the network runs: all at once, or else those that it can do without alone."""
    if not parts or trial(parts) is None:
        return parts
    return [part for part in parts if trial([part]) is None]


class _Trial:
    """Tries what else can be decided."""

    def __init__(self, bare: nn.Module, images: Tensor, found: Followed, search: Search) -> None:
        self.bare, self.images, self.found, self.search = bare, images, found, search
        self.whole = np.array([group.units for group in search.groups], dtype=np.int64)

    def runs_without(self, runs: Sequence[Run]) -> Difference | None:
        """Return what goes wrong without the removable blocks of some runs; None: nothing."""
        left_out = [path for run in runs for path in run.blocks[run.fewest :]]
        steps = [step for step in self.found.steps if not any(path in left_out for path in step.path)]
        network = shell_of(self.bare, lambda name, tensor, module: tensor, {}, left_out)
        return self._difference(network, steps)

    def crops(self, paths: Sequence[str]) -> Difference | None:
        """Return what goes wrong with smaller kernels of some convolutions; None: nothing."""
        weights = {f"{path}.weight" for path in paths}

        def smaller(name: str, tensor: Tensor, holder: nn.Module) -> Tensor:
            if name not in weights:
                return tensor
            return nn.Parameter(tensor[..., 1:-1, 1:-1].clone(), requires_grad=False)

        modules = {path: cast(nn.Conv2d, self.bare.get_submodule(path)) for path in paths}
        values = {path: cropped(module, module.kernel_size[0] - 2) for path, module in modules.items()}
        return self._difference(shell_of(self.bare, smaller, values), self.found.steps)

    def _difference(self, network: nn.Module, steps: Sequence[Step]) -> Difference | None:
        return first_difference(network, self.images, steps, self.search.sizes, self.whole)


def _without(
    found: Followed,
    groups: Sequence[Group],
    free: Sequence[int],
    attributes: Sequence[Attribute],
    runs: tuple[Run, ...],
    kernels: Mapping[str, int],
    fixed: Sequence[Fixed],
) -> Plan:
    """Return the plan of the groups that are free, with the numbers that these have among themselves."""
    for number, group in enumerate(groups):
        if number not in free:
            found.store.freeze(group.roots, "the code of the network does not follow it")
    number_of = {old: new for new, old in enumerate(free)}
    kept = [each.renumbered(number_of) for each in attributes if {g for g, _ in each.size.times} <= set(free)]
    return Plan(tuple(groups[number] for number in free), tuple(kept), runs, kernels, tuple(fixed), found, {})
