"""Sort hidden channels by importance, so that a narrow network gets the best ones."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from nasvit.elastic.mbconv import ElasticMBConv
from nasvit.elastic.planned_blocks import ElasticInvertedResidual
from nasvit.supernets.shared_network import SharedNetwork


@torch.no_grad()
def sort_channels(
    network: SharedNetwork,
    optimizers: Iterable[torch.optim.Optimizer] = (),
    copies: Iterable[SharedNetwork] = (),
) -> None:
    """Sort the hidden channels of every inverted block by the L1 norm of the narrowing weights they feed.

    The widest network computes the same as before; narrower ones change. Sorting is in place: live subnets stay live,
    and gradients, every optimizer's moments and averaged copies move along. Blocks of other kinds stay as they are.

    Source: Cai et al., Network Augmentation for Tiny Deep Learning (2022), released code, which leaves the momentum
    where it was.

    Args:
        network: what is sorted.
        optimizers: optimizers of its parameters.
        copies: networks of the same kind that follow it, such as an exponential moving average.
    """
    mover = _Mover(network, tuple(optimizers), tuple(copies))
    for name, block in network.named_modules():
        if isinstance(block, ElasticInvertedResidual | ElasticMBConv) and block.expand is not None:
            _sort_block(mover, name, block)


def _sort_block(mover: _Mover, name: str, block: ElasticInvertedResidual | ElasticMBConv) -> None:
    order = _order(block.project.conv.weight)
    mover.move(f"{name}.project.conv.weight", 1, order)
    for unit in ("depthwise", "expand"):
        mover.move(f"{name}.{unit}.conv.weight", 0, order)
        for part in ("weight", "bias", "running_mean", "running_var"):
            mover.move(f"{name}.{unit}.norm.{part}", 0, order)
    if block.squeeze_excite is None:
        return
    gate = f"{name}.squeeze_excite"
    mover.move(f"{gate}.expand.weight", 0, order)
    mover.move(f"{gate}.expand.bias", 0, order)
    mover.move(f"{gate}.reduce.weight", 1, order)
    squeezed = _order(block.squeeze_excite.expand.weight)
    mover.move(f"{gate}.expand.weight", 1, squeezed)
    mover.move(f"{gate}.reduce.weight", 0, squeezed)
    mover.move(f"{gate}.reduce.bias", 0, squeezed)


def _order(weight: Tensor) -> Tensor:
    return torch.sort(weight.abs().sum((0, 2, 3)), descending=True).indices


class _Mover:
    """Reorders a tensor of a network with everything that belongs to it."""

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
            if name in tensors:
                self._move_tensor(tensors[name], axis, order)

    def _move_tensor(self, tensor: Tensor, axis: int, order: Tensor) -> None:
        followers = [tensor, tensor.grad]
        for optimizer in self.optimizers:
            if tensor in optimizer.state:
                followers += [value for value in optimizer.state[tensor].values() if isinstance(value, Tensor)]
        for follower in followers:
            if follower is not None and follower.shape == tensor.shape:
                follower.copy_(follower.index_select(axis, order))
