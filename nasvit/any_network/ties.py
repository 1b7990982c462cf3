"""Groups that a module's code takes for one, although no operation ties them."""

from __future__ import annotations

from collections.abc import Sequence

from nasvit.any_network.attributes import Search
from nasvit.any_network.coupling import Spots, Tie
from nasvit.any_network.groups import Group


def more_ties(search: Search, ties: Sequence[Tie]) -> list[Tie]:
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
