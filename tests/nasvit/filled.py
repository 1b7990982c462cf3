"""Networks whose tensors all hold something, and images for them."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from search_spaces import Space

N = TypeVar("N", bound=nn.Module)


@torch.no_grad()
def filled(network: N, seed: int = 1) -> N:
    """Move every parameter by random numbers, so that no gain or scale is zero or hides what it scales."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.1)
    return network


def images(space: Space, count: int = 4, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    side = max(space.resolution)
    return torch.randn(count, space.image_channels, side, side, generator=generator, dtype=dtype)
