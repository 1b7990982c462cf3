"""Convolution, batch norm, activation."""

from __future__ import annotations

from torch import Tensor, nn


class ConvNorm(nn.Module):
    """Convolution, then batch norm, then an activation (or none).

    Args:
        conv: the convolution.
        norm: the batch norm after it, or None.
        act: the activation after the batch norm, or None.

    Shape:
        The shape of ``conv``.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.Module | None = None, act: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return x if self.act is None else self.act(x)
