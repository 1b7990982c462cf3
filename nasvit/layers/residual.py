"""Residual block: the input is added before the last activation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from nasvit.layers.activation import activation


class ResidualBlock(nn.Module):
    """Layers, plus a shortcut past them, then an activation.

    Source: He et al., Deep Residual Learning (2016), https://arxiv.org/abs/1512.03385

    Args:
        body: the layers, in order.
        shortcut: module whose output is added to the result.
        act: name of the activation.

    Shape:
        ``(batch, in_channels, height, width) -> (batch, out_channels, height', width')``
    """

    def __init__(self, body: Sequence[nn.Module], shortcut: nn.Module, act: str) -> None:
        super().__init__()
        self.body = nn.ModuleList(body)
        self.shortcut = shortcut
        self.act = activation(act)
        self.drop_path: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        hidden = x
        for layer in self.body:
            hidden = layer(hidden)
        if self.drop_path is not None:
            hidden = self.drop_path(hidden)
        result: Tensor = self.act(hidden + self.shortcut(x))
        return result
