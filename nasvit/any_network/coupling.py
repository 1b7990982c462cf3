"""Which channels of a network hang together, found by running it once or a few times on the meta device."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import nasvit.any_network.weighted  # noqa: F401  # its rules register themselves
from nasvit.any_network.agreement import slow_attention
from nasvit.any_network.following import Followed, Follower
from nasvit.any_network.rules import rule_of
from nasvit.any_network.shell import shell_of

Spots = tuple[str, int, tuple[int, ...]]
"""Positions along one axis of a tensor: its name, the axis, and the positions."""

Tie = tuple[Spots, Spots]
"""Positions that are kept or left out together, one with one."""


def follow(
    network: nn.Module, image: Tensor, choices: dict[str, int] | None = None, ties: Iterable[Tie] = ()
) -> Followed:
    """Run a network and return how its channels hang together.

    Where a reshaping divides channels into parts, such as heads and the channels of one, the parts that could be the
    unit are tried in order, until one is free.

    Args:
        network: the network, in evaluation mode, on the device of the image.
        image: what it gets; the meta device is best.
        choices: place where channels are divided in one of several ways -> number of the way; what was tried is added.
        ties: channels that are tied besides those that operations tie, as the code expects equally many of them.
    """
    choices = {} if choices is None else choices
    while True:
        found = _follow_once(network, image, choices, ties)
        stuck = [
            (place, split.options)
            for place, split in found.splits.items()
            if choices.get(place, 0) < split.options and found.store.is_frozen(split.labels).all()
        ]
        if not stuck:
            return found
        for place, _ in stuck:
            choices[place] = choices.get(place, 0) + 1


def _follow_once(network: nn.Module, image: Tensor, choices: dict[str, int], ties: Iterable[Tie]) -> Followed:
    network = shell_of(network, lambda name, tensor, module: tensor, {})  # nothing that it keeps is left in it
    follower = Follower(network, rule_of, choices)
    with slow_attention(), follower.watching(network, image) as found:
        result = network(image)
        follower.finish(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
    for tie in ties:
        first, second = (found.tensors[name][axis][list(positions)] for name, axis, positions in tie)
        found.store.tie(first, second)
    return found
