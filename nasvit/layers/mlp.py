"""The MLP of a transformer block."""

from __future__ import annotations

from torch import Tensor, nn


class Mlp(nn.Module):
    """Widen every token, activate, narrow it again; optionally convolve depthwise in between.

    Args:
        widen: ``channels -> hidden channels``.
        conv: depthwise convolution of the hidden map, or None.
        act: activation of the hidden channels.
        narrow: ``hidden channels -> channels``.

    Shape:
        ``(batch, height, width, channels) -> (batch, height, width, channels)``
    """

    def __init__(self, widen: nn.Linear, conv: nn.Conv2d | None, act: nn.Module, narrow: nn.Linear) -> None:
        super().__init__()
        self.widen = widen
        self.conv = conv
        self.act = act
        self.narrow = narrow

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.widen(tokens)
        if self.conv is not None:
            hidden = self.conv(hidden.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out: Tensor = self.narrow(self.act(hidden))
        return out
