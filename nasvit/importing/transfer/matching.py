"""Which tensor of a source belongs to which of a network: by name, or by order where names differ."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

Alike = Callable[[str, Shape], bool]
"""Returns whether a network's tensor, given its name, can take a tensor of some shape."""

BY_ORDER = "matched by order: the names differ, and all shapes agree one after the other"

COUNTER = "num_batches_tracked"
"""Last part of the name of what batch norms count; nothing depends on it, and old files lack it."""

_TOLD_APART = ("weight", "bias", "running_mean", "running_var", COUNTER)
_DEEPEST = 3  # parts of a name that a wrapper puts before all names


@dataclass(frozen=True)
class Matching:
    """Which tensor of a source belongs to which of a network.

    Args:
        pairs: name in the network -> name in the source.
        how: by what they were matched, if not simply by their names.
    """

    pairs: Mapping[str, str]
    how: str = ""


def match(network: Shapes, source: Shapes, free: Container[str], alike: Alike) -> Matching:
    """Match the tensors of a source with those of a network.

    Names go first, also where one side has a prefix that the other lacks. Only where names leave something of the
    network without weights, tensors are matched by order, and only if all of them agree.

    Args:
        network: shapes of the network's tensors by name, in order.
        source: shapes of the source's tensors by name, in order.
        free: names of the network that need no counterpart, such as those of its classifier.
        alike: tells whether shapes fit, for matching by order.
    """
    named = _by_name(network, source)
    if all(name in named.pairs or name in free or name.endswith(COUNTER) for name in network):
        return named
    return _by_order(network, source, alike) or named


def _by_name(network: Shapes, source: Shapes) -> Matching:
    best, how = dict[str, str](), ""
    for theirs in _prefixes(source):
        for ours in _prefixes(network):
            named = {name: theirs + name.removeprefix(ours) for name in network if name.startswith(ours)}
            found = {name: other for name, other in named.items() if other in source}
            if len(found) > len(best):
                best, how = found, f"names without {theirs or ours}" if theirs != ours else ""
    return Matching(best, how)


def _prefixes(names: Iterable[str]) -> list[str]:
    """Return what at least half of the names begin with, up to some whole parts; nothing first."""
    names = list(names)
    counts = Counter(prefix for name in names for prefix in _beginnings(name))
    return ["", *(prefix for prefix, count in counts.items() if 2 * count >= len(names))]


def _beginnings(name: str) -> list[str]:
    parts = [f"{part}." for part in name.split(".")[:-1][:_DEEPEST]]
    return list(accumulate(parts, operator.add))


def _by_order(network: Shapes, source: Shapes, alike: Alike) -> Matching | None:
    """Match by order if all tensors agree, with what batch norms count or without."""
    for counted in (True, False):
        ours, theirs = (
            {name: shape for name, shape in shapes.items() if counted or not name.endswith(COUNTER)}
            for shapes in (network, source)
        )
        pairs = dict(zip(ours, theirs))
        if len(ours) == len(theirs) and all(
            _same_role(name, other) and alike(name, theirs[other]) for name, other in pairs.items()
        ):
            return Matching(pairs, BY_ORDER)
    return None


def _same_role(name: str, other: str) -> bool:
    """Return whether two names may mean the same: a gain is no bias, and a mean no variance."""
    roles = [each.rpartition(".")[2] for each in (name, other)]
    return roles[0] == roles[1] or not all(role in _TOLD_APART for role in roles)
