"""Normalize pixels to the range that a network was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Subtract a mean and divide by a deviation, channel by channel.

    Args:
        mean: mean of each channel, for pixels from 0 to 1.
        deviation: standard deviation of each channel, for pixels from 0 to 1.

    Shape:
        ``(batch, channels, height, width) -> (batch, channels, height, width)``
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.deviation
