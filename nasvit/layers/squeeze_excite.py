"""Squeeze-and-excite: channels weighted by the means over the whole map."""

from __future__ import annotations

from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """Weight every channel by a gate computed from the means of all channels.

    Source: Hu et al., Squeeze-and-Excitation Networks (2018), https://arxiv.org/abs/1709.01507

    Args:
        reduce: 1x1 convolution to the squeezed channels.
        expand: 1x1 convolution back to all channels.
        act: activation between the two.
        gate: activation that turns the result into weights, usually a hard sigmoid.

    Shape:
        ``(batch, channels, height, width) -> (batch, channels, height, width)``
    """

    def __init__(self, reduce: nn.Conv2d, expand: nn.Conv2d, act: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.reduce = reduce
        self.act = act
        self.expand = expand
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        weights: Tensor = self.gate(self.expand(self.act(self.reduce(x.mean((2, 3), keepdim=True)))))
        return x * weights
