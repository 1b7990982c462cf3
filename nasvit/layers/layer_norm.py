"""Layer norm over tokens and channels together."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class JointLayerNorm(nn.Module):
    """Layer norm over all tokens and channels of an image at once, with a gain and a bias per channel.

    Source: the released NASViT normalizes so; its paper does not say (docs/nasvit_space.md).

    Args:
        num_channels: channels of a token.
        eps: added to the variance.

    Shape:
        ``(batch, height, width, num_channels) -> (batch, height, width, num_channels)``
    """

    def __init__(self, num_channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_channels, self.eps = num_channels, eps
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, tokens: Tensor) -> Tensor:
        normal = F.layer_norm(tokens, tokens.shape[1:], eps=self.eps)
        return torch.addcmul(self.bias, normal, self.weight)

    def extra_repr(self) -> str:
        return f"{self.num_channels}, eps={self.eps}"
