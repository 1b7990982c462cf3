"""AutoSlim: slim a network greedily, always where it hurts least, and note what is left at every target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Channels = tuple[int, ...]


@dataclass(frozen=True)
class Slimmed:
    """What was left when a target was met.

    Args:
        target: the cost that had to be undercut.
        cost: the cost reached.
        channels: channels of every group.
        chosen: which group was slimmed at every step so far, from the first target's first step on.
    """

    target: float
    cost: float
    channels: Channels
    chosen: tuple[int, ...]


def slim_greedily(
    channels: Channels,
    steps: Channels,
    error: Callable[[Channels], float],
    cost: Callable[[Channels], float],
    targets: Sequence[float],
) -> list[Slimmed]:
    """Take channels away, a step at a time, from the group where the error grows least, until each target is met.

    One pass from the largest target to the smallest: each continues where the one before ended. As released, the cost
    is looked at after a step only, so every target takes at least one.

    Source: Yu and Huang, AutoSlim (2019), section 3.3, https://arxiv.org/abs/1903.11728

    Args:
        channels: channels of every group to start with; a group is one layer, or several that must have equal channels.
        steps: channels taken from a group at a time; a group keeps at least one channel.
        error: the error of the network with so many channels in each group, such as top-1 on held-out images.
        cost: its cost, such as MACs.
        targets: costs to undercut, in any order.

    Returns:
        One result a target, from the largest to the smallest.

    Raises:
        ValueError: if the numbers of groups differ, or a target cannot be met.
    """
    if len(channels) != len(steps):
        raise ValueError(f"{len(channels)} groups of channels, but {len(steps)} steps")
    chosen: list[int] = []
    results = []
    for target in sorted(targets, reverse=True):
        while True:
            group = _least_harm(channels, steps, error)
            if group is None:
                least = cost(channels)
                raise ValueError(f"target {target} cannot be met: with {channels} channels the cost is {least}")
            channels = _taken(channels, group, steps[group])
            chosen.append(group)
            if cost(channels) < target:
                break
        results.append(Slimmed(target, cost(channels), channels, tuple(chosen)))
    return results


def _taken(channels: Channels, group: int, step: int) -> Channels:
    return (*channels[:group], channels[group] - step, *channels[group + 1 :])


def _least_harm(channels: Channels, steps: Channels, error: Callable[[Channels], float]) -> int | None:
    """Return the group whose slimming leaves the least error (the first of equals), or None if none can give more."""
    able = [group for group, step in enumerate(steps) if channels[group] > step]
    return min(able, key=lambda group: error(_taken(channels, group, steps[group])), default=None)
