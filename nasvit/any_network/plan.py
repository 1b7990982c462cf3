"""What can be decided in a network: found without its weights, on the meta device if its code runs there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from nasvit.any_network.attributes import Attribute, Search
from nasvit.any_network.coupling import Tie, follow
from nasvit.any_network.followed import Followed
from nasvit.any_network.groups import Fixed, Group, groups_of
from nasvit.any_network.refusals import LooksAtNumbers, refuse_computed_weights
from nasvit.any_network.runs import Run, croppable_kernels, runs_of
from nasvit.any_network.shell import shell_of
from nasvit.any_network.sizes import Kept, Sizes, Uneven
from nasvit.any_network.ties import more_ties
from nasvit.any_network.trials import Trial, working

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
        device: where the network's code was followed: the meta device, or the processor.
    """

    groups: tuple[Group, ...]
    attributes: tuple[Attribute, ...]
    runs: tuple[Run, ...]
    kernels: Mapping[str, int]
    fixed: tuple[Fixed, ...]
    found: Followed
    choices: Mapping[str, int]
    ties: tuple[Tie, ...] = ()
    device: str = "meta"

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


def bare_copy(network: nn.Module, device: str = "meta") -> nn.Module:
    """Return a copy of a network without its numbers, in evaluation mode; they are zero where there are any."""

    def empty(name: str, tensor: Tensor, module: nn.Module) -> Tensor:
        bare = torch.zeros_like(tensor, device=device)
        return nn.Parameter(bare, requires_grad=False) if isinstance(tensor, nn.Parameter) else bare

    return shell_of(network, empty, {}).eval()


def plan_of(network: nn.Module, image: Tensor) -> Plan:
    """Find what can be decided in a network.

    Its code runs on the meta device, which takes next to no time and memory; code that does not run there, because an
    operation of it is not defined there for example, runs on the processor.

    Args:
        network: any network of one image tensor.
        image: an image of the size it is for, or a batch; only its shape counts.

    Raises:
        ValueError: if the network cannot be run with such an image, looks at the numbers of a tensor, or computes its
            weights.
    """
    refuse_computed_weights(network)
    try:
        return _plan_on("meta", network, image)
    except _DoesNotRun as error:
        first = error
    try:
        return _plan_on("cpu", network, image)
    except _DoesNotRun as error:
        same = str(error) == str(first) or isinstance(error.__cause__, LooksAtNumbers)
        why = str(error) if same else f"{error} (on the meta device: {first})"
        size = "x".join(map(str, image.shape[-3:]))
        raise ValueError(f"{type(network).__name__} does not run on an image of shape {size}: {why}") from error


def returned_by(network: nn.Module, shape: tuple[int, ...]) -> object:
    """Return what a network returns for a batch of images of a shape, without its numbers."""

    def run(device: str) -> object:
        with torch.no_grad():
            return bare_copy(network, device)(torch.zeros(shape, device=device))

    try:
        return run("meta")
    except RuntimeError:  # such as an operation that is not defined there
        return run("cpu")


class _DoesNotRun(Exception):
    """The code of a network does not run on a device."""


def _plan_on(device: str, network: nn.Module, image: Tensor) -> Plan:
    bare = bare_copy(network, device)
    images = torch.zeros(2, *image.shape[-3:], device=device, dtype=number_type(network))
    choices: dict[str, int] = {}
    ties: list[Tie] = []
    for _ in range(_ROUNDS):
        found = _followed(bare, images, choices, ties)
        groups, fixed = _even_groups(found)
        search = Search(bare, images, found.steps, Sizes(found.store, groups), groups)
        for kept in _trials(groups):
            search.run(kept)
        more = more_ties(search, ties)
        if more:
            ties += more
            continue
        again = _next_choices(found, [groups[number] for number in search.problems], choices)
        if again is None:
            break
        choices = again
    free = [number for number in range(len(groups)) if number not in search.problems]
    fixed += [Fixed(groups[number].name, groups[number].units, why) for number, why in search.problems.items()]
    trial = Trial(bare, images, found, search)
    runs = tuple(working(runs_of(bare, found), trial.runs_without))
    sides = {path: module.kernel_size[0] for path, module in croppable_kernels(bare, found)}
    kernels = {path: sides[path] for path in working([*sides], trial.crops)}
    plan = _without(found, groups, free, search.attributes, runs, kernels, fixed)
    return replace(plan, choices=choices, ties=tuple(ties), device=device)


def number_type(network: nn.Module) -> torch.dtype:
    """Return the type of the numbers that a network computes with."""
    tensors = (*network.parameters(), *network.buffers())
    return next((each.dtype for each in tensors if each.is_floating_point()), torch.float32)


def _followed(bare: nn.Module, images: Tensor, choices: dict[str, int], ties: Sequence[Tie]) -> Followed:
    try:
        return follow(bare, images, choices, ties)
    except LooksAtNumbers as error:
        raise _DoesNotRun(str(error)) from error
    except Exception as error:  # whatever the code of the network raises
        raise _DoesNotRun(f"{type(error).__name__}: {error}") from error


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


def _next_choices(found: Followed, failed: Sequence[Group], choices: dict[str, int]) -> dict[str, int] | None:
    """Return other units for reshapings of channels that the code does not follow; None: there are none left."""
    roots = np.concatenate([np.empty(0, np.int64), *(group.roots for group in failed)])
    again = dict(choices)
    for place, split in found.splits.items():
        touched = np.isin(found.store.roots(split.labels), roots).any()
        if touched and choices.get(place, 0) + 1 < split.options:
            again[place] = choices.get(place, 0) + 1
    return None if again == choices else again


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
