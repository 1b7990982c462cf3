"""Inverted residual block with squeeze-and-excite."""

from __future__ import annotations

from torch import Tensor, nn


class MBConv(nn.Module):
    """Inverted residual: widen, convolve each channel, weigh the channels, narrow, add the shortcut.

    Source: Sandler et al., MobileNetV2 (2018), https://arxiv.org/abs/1801.04381; squeeze-and-excite after the
    depthwise activation as in Howard et al., MobileNetV3 (2019), https://arxiv.org/abs/1905.02244

    Args:
        expand: 1x1 convolution to the hidden channels, or None where the hidden channels are the input's.
        depthwise: depthwise convolution of the hidden channels.
        squeeze_excite: gate on the hidden channels, or None.
        project: 1x1 convolution to the output channels, without activation.
        shortcut: module whose output is added to the result: ``nn.Identity``, a pooled one, or None.

    Shape:
        ``(batch, in_channels, height, width) -> (batch, out_channels, height', width')``
    """

    def __init__(
        self,
        expand: nn.Module | None,
        depthwise: nn.Module,
        squeeze_excite: nn.Module | None,
        project: nn.Module,
        shortcut: nn.Module | None,
    ) -> None:
        super().__init__()
        self.expand = expand
        self.depthwise = depthwise
        self.squeeze_excite = squeeze_excite
        self.project = project
        self.shortcut = shortcut
        self.drop_path: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        hidden = x if self.expand is None else self.expand(x)
        hidden = self.depthwise(hidden)
        if self.squeeze_excite is not None:
            hidden = self.squeeze_excite(hidden)
        hidden = self.project(hidden)
        if self.shortcut is None:
            return hidden
        if self.drop_path is not None:
            hidden = self.drop_path(hidden)
        return self.shortcut(x) + hidden
