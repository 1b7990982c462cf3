"""Dropout, stochastic depth and DropBlock, whose masks are those of the joined batch of all processes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasvit.compute import ALONE, Compute


class Drop(nn.Module):
    """Zero features, or whole images, at random while training, and scale up what is left.

    The mask is drawn for the joined batch of all processes, each of which takes its part of it. With equal random
    states any number of processes so computes what one does.

    Args:
        drop_prob: probability of zeroing, from 0 to below 1.
        whole: zero whole images: stochastic depth, on the output of a residual branch.
        compute: the processes.

    Shape:
        ``(batch, ...) -> (batch, ...)``

    Source: Srivastava et al., Dropout (2014); Huang et al., Deep Networks with Stochastic Depth (2016),
    https://arxiv.org/abs/1603.09382
    """

    def __init__(self, drop_prob: float, *, whole: bool = False, compute: Compute = ALONE) -> None:
        super().__init__()
        self.drop_prob, self.whole, self.compute = drop_prob, whole, compute

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.drop_prob:
            return x
        sizes = (1,) * (x.ndim - 1) if self.whole else x.shape[1:]
        kept = torch.empty(len(x) * self.compute.count, *sizes, dtype=x.dtype, device=x.device)
        kept.bernoulli_(1 - self.drop_prob).div_(1 - self.drop_prob)
        return x * self.compute.take_part(kept)

    def extra_repr(self) -> str:
        return f"drop_prob={self.drop_prob:g}, whole={self.whole}"


class DropBlock(nn.Module):
    """Zero squares of maps at random while training, each channel by itself, and scale up what is left.

    Squares lie inside the map. Their corners are drawn so often that about ``drop_prob`` of the map would be zeroed if
    no two squares overlapped; the scale is that of what was really left of the joined batch, of which the mask is drawn
    as in :class:`Drop`.

    Args:
        drop_prob: share of the map, from 0 to below 1; the same from the first step on.
        side: side of a square in pixels, or that of the map where this is smaller.
        compute: the processes.

    Shape:
        ``(batch, channels, height, width) -> (batch, channels, height, width)``

    Source: Ghiasi et al., DropBlock (2018), section 3, https://arxiv.org/abs/1810.12890
    """

    def __init__(self, drop_prob: float, *, side: int = 7, compute: Compute = ALONE) -> None:
        super().__init__()
        self.drop_prob, self.side, self.compute = drop_prob, side, compute

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.drop_prob:
            return x
        batch, channels, height, width = x.shape
        side = min(self.side, height, width)
        free = height - side + 1, width - side + 1
        often = min(1.0, self.drop_prob / side**2 * (height * width) / (free[0] * free[1]))
        corners = torch.empty(batch * self.compute.count, channels, *free, dtype=x.dtype, device=x.device)
        squares = F.max_pool2d(F.pad(corners.bernoulli_(often), (side - 1,) * 4), side, stride=1)
        kept = 1 - squares
        scale = kept.numel() / kept.sum(dtype=torch.float32).clamp(min=1)
        return x * self.compute.take_part(kept) * scale.to(x.dtype)

    def extra_repr(self) -> str:
        return f"drop_prob={self.drop_prob:g}, side={self.side}"
