"""Sort hidden channels by importance, so that a narrow network gets the best ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from nasvit.elastic.registry import inner_channels
from nasvit.supernets.shared_network import SharedNetwork

Move = tuple[str, int, Tensor]
"""A tensor's name, one of its axes, and which old position comes where."""


@runtime_checkable
class SortsItself(Protocol):
    """A network that says itself which of its channels may change places."""

    def moves_by_importance(self) -> Iterator[list[Move]]:
        """Yield for every group of channels how it moves so that the most important ones come first."""


@torch.no_grad()
def sort_channels(
    network: SharedNetwork,
    optimizers: Iterable[torch.optim.Optimizer] = (),
    copies: Iterable[SharedNetwork] = (),
) -> None:
    """Sort the inner channels of every block by the L1 norm of the weights that read them.

    The kind of the block decides which channels may change places (:mod:`nasvit.elastic.registry`): the hidden ones
    of inverted blocks, and the squeezed ones of their gates. Any other network says it itself (:class:`SortsItself`).
    The widest network computes the same as before; narrower ones change, and statistics that universal batch norms
    keep for them are to be taken anew. Sorting is in place: live subnets stay live, and gradients, every optimizer's
    moments and averaged copies move along.

    Source: Cai et al., Network Augmentation for Tiny Deep Learning (2022), released code, which leaves the momentum
    where it was.

    Args:
        network: the network to sort.
        optimizers: optimizers of its parameters.
        copies: networks of the same kind that follow it, such as an exponential moving average.

    Raises:
        ValueError: if batch norms are switchable, and so belong to the channels as they are.
    """
    mover = _Mover(network, tuple(optimizers), tuple(copies))
    for moves in network.moves_by_importance() if isinstance(network, SortsItself) else _moves_of_blocks(network):
        for name, axis, order in moves:
            mover.move(name, axis, order)


def _moves_of_blocks(network: SharedNetwork) -> Iterator[list[Move]]:
    for name, block in network.named_modules():
        for axes in inner_channels(block):
            reader, axis = axes[0]
            order = _order(block.get_parameter(reader), axis)
            yield [(f"{name}.{tensor}", axis, order) for tensor, axis in axes]


def _order(weight: Tensor, axis: int) -> Tensor:
    others = [each for each in range(weight.ndim) if each != axis]
    return torch.sort(weight.abs().sum(others), descending=True).indices


class _Mover:
    """Reorders a tensor of a network together with its gradient, optimizer moments and averages."""

    def __init__(
        self,
        network: SharedNetwork,
        optimizers: tuple[torch.optim.Optimizer, ...],
        copies: tuple[SharedNetwork, ...],
    ) -> None:
        self.networks = [dict([*each.named_parameters(), *each.named_buffers()]) for each in (network, *copies)]
        self.optimizers = optimizers

    def move(self, name: str, axis: int, order: Tensor) -> None:
        """Reorder one axis of the tensor of that name everywhere."""
        for tensors in self.networks:
            if name in tensors:  # a copy may be without the statistics of some subnets
                self._move_tensor(tensors[name], axis, order)

    def _move_tensor(self, tensor: Tensor, axis: int, order: Tensor) -> None:
        followers = [tensor, tensor.grad]
        for optimizer in self.optimizers:
            if tensor in optimizer.state:
                followers += [value for value in optimizer.state[tensor].values() if isinstance(value, Tensor)]
        for follower in followers:
            if follower is not None and follower.shape == tensor.shape:
                follower.copy_(follower.index_select(axis, order))
