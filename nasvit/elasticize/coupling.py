"""Which channels of a network hang together, found by running it once or a few times on the meta device."""

from __future__ import annotations

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import nasvit.elasticize.weighted  # noqa: F401  # its rules register themselves
from nasvit.elasticize.agreement import slow_attention
from nasvit.elasticize.following import Followed, Follower
from nasvit.elasticize.rules import rule_of
from nasvit.elasticize.shell import shell_of


def follow(network: nn.Module, image: Tensor, choices: dict[str, int] | None = None) -> Followed:
    """Run a network and return how its channels hang together.

    Where a reshaping divides channels into parts, such as heads and the channels of one, the parts that could be the
    unit are tried in order, until one is free.

    Args:
        network: the network, in evaluation mode, on the device of the image.
        image: what it gets; the meta device is best.
        choices: place of a reshaping -> number of the part that is the unit; what was tried is added.
    """
    choices = {} if choices is None else choices
    while True:
        found = _follow_once(network, image, choices)
        stuck = [
            (place, split.options)
            for place, split in found.splits.items()
            if choices.get(place, 0) < split.options and found.store.is_frozen(split.labels).all()
        ]
        if not stuck:
            return found
        for place, _ in stuck:
            choices[place] = choices.get(place, 0) + 1


def _follow_once(network: nn.Module, image: Tensor, choices: dict[str, int]) -> Followed:
    network = shell_of(network, lambda name, tensor, module: tensor, {})  # nothing that it keeps is left in it
    follower = Follower(network, rule_of, choices)
    with slow_attention(), follower.watching(network, image) as found:
        result = network(image)
        follower.finish(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
    return found
