"""Ghost modules, their attention, and the Ghost block."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DecoupledAttention(nn.Module):
    """Weights for every position, from the row and the column around it, computed at half the size.

    Source: Tang et al., GhostNetV2 (2022), section 3.2 (DFC attention), https://arxiv.org/abs/2211.12905. Maps of side
    1 are not halved, so that they do not vanish.

    Args:
        mix: 1x1 convolution with batch norm.
        horizontal: depthwise convolution along rows, with batch norm.
        vertical: depthwise convolution along columns, with batch norm.

    Shape:
        ``(batch, in_channels, height, width) -> (batch, out_channels, height, width)``
    """

    def __init__(self, mix: nn.Module, horizontal: nn.Module, vertical: nn.Module) -> None:
        super().__init__()
        self.mix = mix
        self.horizontal = horizontal
        self.vertical = vertical

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        halved = F.avg_pool2d(x, (min(2, height), min(2, width)))
        weights = torch.sigmoid(self.vertical(self.horizontal(self.mix(halved))))
        return F.interpolate(weights, size=(height, width), mode="nearest")


class GhostModule(nn.Module):
    """Half of the channels from a convolution, the other half computed from the first by a cheap depthwise one.

    Source: Han et al., GhostNet (2020), section 3.1, https://arxiv.org/abs/1911.11907

    Args:
        primary: convolution to half of the channels, with its batch norm and activation.
        cheap: depthwise convolution of the first half, with its batch norm and activation.
        out_channels: channels out; an odd number cuts the last cheap channel.
        attention: weights of the result from the module's input, or None.
        interleaved: place every cheap channel after its source channel, instead of all cheap ones at the end.

    Shape:
        ``(batch, in_channels, height, width) -> (batch, out_channels, height, width)``
    """

    def __init__(
        self,
        primary: nn.Module,
        cheap: nn.Module,
        out_channels: int,
        attention: nn.Module | None = None,
        *,
        interleaved: bool = False,
    ) -> None:
        super().__init__()
        self.primary = primary
        self.cheap = cheap
        self.out_channels = out_channels
        self.attention = attention
        self.interleaved = interleaved

    def forward(self, x: Tensor) -> Tensor:
        primary = self.primary(x)
        halves = [primary, self.cheap(primary)]
        joined = torch.stack(halves, 2).flatten(1, 2) if self.interleaved else torch.cat(halves, 1)
        result = joined[:, : self.out_channels]
        return result if self.attention is None else result * self.attention(x)


class GhostBlock(nn.Module):
    """Ghost module, perhaps a strided depthwise convolution and a gate, ghost module; the shortcut is added.

    Source: Han et al., GhostNet (2020), section 3.2, https://arxiv.org/abs/1911.11907

    Args:
        widen: ghost module to the hidden channels.
        depthwise: strided depthwise convolution of the hidden channels, or None.
        squeeze_excite: gate on the hidden channels, or None.
        narrow: ghost module to the channels out, without activation.
        shortcut: module whose output is added to the result.

    Shape:
        ``(batch, in_channels, height, width) -> (batch, out_channels, height', width')``
    """

    def __init__(
        self,
        widen: nn.Module,
        depthwise: nn.Module | None,
        squeeze_excite: nn.Module | None,
        narrow: nn.Module,
        shortcut: nn.Module,
    ) -> None:
        super().__init__()
        self.widen = widen
        self.depthwise = depthwise
        self.squeeze_excite = squeeze_excite
        self.narrow = narrow
        self.shortcut = shortcut
        self.drop_path: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.widen(x)
        if self.depthwise is not None:
            hidden = self.depthwise(hidden)
        if self.squeeze_excite is not None:
            hidden = self.squeeze_excite(hidden)
        hidden = self.narrow(hidden)
        if self.drop_path is not None:
            hidden = self.drop_path(hidden)
        result: Tensor = hidden + self.shortcut(x)
        return result
