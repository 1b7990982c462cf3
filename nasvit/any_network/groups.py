"""Groups of channels that hang together, each a decision of how many of its units are kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nasvit.any_network.following import Followed
from nasvit.any_network.labels import Labels

Place = tuple[str, int]
"""A parameter or buffer by its name, and one of its axes."""


@dataclass(frozen=True)
class Group:
    """Channels that are kept or left out together, unit by unit.

    Args:
        name: name of the first weight whose output they are, without its last part.
        units: how many there are.
        places: where they are stored: name and axis -> positions of every unit, shape (units, positions of one).
        roots: the root of every unit's labels.
    """

    name: str
    units: int
    places: Mapping[Place, NDArray[np.int64]]
    roots: Labels

    @cached_property
    def channels(self) -> int:
        """Channels of the place that the group is named after."""
        return next(positions.size for positions in self.places.values())


@dataclass(frozen=True)
class Fixed:
    """Channels of a weight that have to stay, and why.

    Args:
        name: name of the module with the weight.
        channels: how many there are.
        reason: why.
    """

    name: str
    channels: int
    reason: str


def groups_of(found: Followed) -> tuple[list[Group], list[Fixed]]:
    """Return the groups of a network that was followed, in the order of its parameters, and the weights that stay."""
    places = _places(found)
    produced = np.unique(found.store.roots(np.concatenate([np.empty(0, np.int64), *found.producers])))
    free = set(produced[~found.store.is_frozen(produced)].tolist())
    by_signature: dict[tuple[tuple[Place, int], ...], list[int]] = defaultdict(list)
    for root, where in places.items():
        if root in free:
            by_signature[tuple((place, len(at)) for place, at in where.items())].append(root)
    groups, fixed = [], _fixed(found)
    for signature, roots in by_signature.items():
        positions = {place: np.array([places[root][place] for root in roots]) for place, _ in signature}
        name = _module(signature[0][0][0])
        if len(roots) > 1:
            groups.append(Group(name, len(roots), positions, np.array(roots)))
        else:
            fixed.append(Fixed(name, signature[0][1], "all of its channels hang together"))
    return _named_apart(groups), fixed


def heads_of(groups: Sequence[Group], found: Followed) -> list[Group]:
    """Return the groups whose units are heads: what modules with products of tensors divide their channels into."""
    attention = {path for each in found.operations if each.name in _PRODUCTS for path in each.path[-2:]}
    into_heads = [each.labels for each in found.splits.values() if each.into_heads and each.path in attention]
    roots = {root for labels in into_heads for root in found.store.roots(labels).tolist()}
    return [group for group in groups if roots.intersection(group.roots.tolist())]


_PRODUCTS = frozenset(
    "bmm baddbmm _scaled_dot_product_flash_attention _scaled_dot_product_efficient_attention "
    "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_cudnn_attention".split()
)


def _places(found: Followed) -> dict[int, dict[Place, list[int]]]:
    """Return for every root where its labels are stored: name and axis -> positions."""
    places: dict[int, dict[Place, list[int]]] = {}
    for name, axes in found.tensors.items():
        for axis, labels in axes.items():
            for position, root in enumerate(found.store.roots(labels).tolist()):
                places.setdefault(root, {}).setdefault((name, axis), []).append(position)
    return places


def _fixed(found: Followed) -> list[Fixed]:
    """Return the weights that write channels which have to stay."""
    written = {id(labels): name for name, axes in found.tensors.items() for labels in axes.values()}
    fixed: dict[str, Fixed] = {}
    for labels in found.producers:
        name = written.get(id(labels))
        frozen = labels[found.store.is_frozen(labels)]
        if name is not None and len(frozen):
            reason = found.store.reason(int(frozen[0])) or ""
            fixed.setdefault(name, Fixed(_module(name), len(frozen), reason))
    return [*fixed.values()]


def _module(name: str) -> str:
    return name.rpartition(".")[0] or name


def _named_apart(groups: Sequence[Group]) -> list[Group]:
    """Give groups of one module, such as two of a fused projection, names of their own."""
    counts: dict[str, int] = defaultdict(int)
    named = []
    for group in groups:
        counts[group.name] += 1
        number = counts[group.name]
        name = group.name if number == 1 else f"{group.name}[{number}]"
        named.append(Group(name, group.units, group.places, group.roots))
    return named
