"""Dropout and stochastic depth whose masks are those of the joined batch of all processes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
