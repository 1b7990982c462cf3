"""Multiply-adds counted while a network runs: an independent check on the counts of ``nasvit.costs.counting``."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def conv_linear_macs(network: nn.Module, images: Tensor, *, outside: type[nn.Module] | None = None) -> int:
    """Return the multiply-adds of all convolutions and linear layers for one image.

    Args:
        network: runs as it is, so in evaluation mode.
        images: a batch.
        outside: leave out what is inside modules of this type.
    """
    inside = [module for module in network.modules() if outside is not None and isinstance(module, outside)]
    skipped = {id(part) for module in inside for part in module.modules()}
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, Tensor)
        total += output.numel() // images.shape[0] * (weight.numel() // weight.shape[0])

    hooks = [
        module.register_forward_hook(count)
        for module in network.modules()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and id(module) not in skipped
    ]
    network(images)
    for hook in hooks:
        hook.remove()
    return total
