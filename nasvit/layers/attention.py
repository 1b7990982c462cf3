"""Attention with talking heads, expanded values and windows."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from nasvit.layers.windows import hide_padding, join, split, window_side

for _name in ("hide_padding", "join", "split"):
    fx.wrap(_name)  # they decide by sizes, which torch.fx cannot follow


class TalkingHeads(nn.Module):
    """Mix the attention maps of all heads linearly.

    A matrix product over the head axis: nothing of the ``batch x heads x tokens x tokens`` tensor is permuted.

    Source: Shazeer et al., Talking-Heads Attention (2020), https://arxiv.org/abs/2003.02436

    Args:
        heads: heads in and out.

    Shape:
        ``(batch, heads, tokens, tokens) -> (batch, heads, tokens, tokens)``
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(heads))
        self.bias = nn.Parameter(torch.zeros(heads))

    def forward(self, maps: Tensor) -> Tensor:
        weight = self.weight.expand(maps.shape[0], -1, -1)
        return torch.baddbmm(self.bias[:, None], weight, maps.flatten(2)).view_as(maps)

    def extra_repr(self) -> str:
        return f"heads={self.weight.shape[0]}"


class Attention(nn.Module):
    """Self-attention of NASViT over a map of any size, global or in windows.

    Queries and keys have the input's channels, values several times as many, and a depthwise convolution adds the
    neighborhood to the values. Heads mix their maps before and after the softmax. A map that does not divide into
    windows is padded with tokens that weigh nothing as keys; their values are zero besides, because the second mixing
    has a bias, which gives every key some weight again.

    Source: Gong et al., NASViT (2022), section 3, https://openreview.net/forum?id=Qaw16njk6L

    Args:
        query: ``channels -> channels``.
        key: ``channels -> channels``.
        value: ``channels -> value channels``.
        value_conv: depthwise convolution of the value map.
        position_bias: returns, for the height and width of a window in tokens, the bias
            ``(heads, window tokens, window tokens)``.
        mix_logits: mixes the heads before the softmax.
        mix_weights: mixes the heads after it.
        project: ``value channels -> channels``.
        act: activation next to the projection.
        heads: number of heads.
        windows: windows along each side of the map; 1 is global attention.
        activate_first: whether ``act`` comes before the projection, as in LeViT, or after it.

    Shape:
        ``(batch, height, width, channels) -> (batch, height, width, channels)``
    """

    def __init__(
        self,
        query: nn.Linear,
        key: nn.Linear,
        value: nn.Linear,
        value_conv: nn.Conv2d,
        position_bias: nn.Module,
        mix_logits: nn.Module,
        mix_weights: nn.Module,
        project: nn.Linear,
        act: nn.Module,
        *,
        heads: int,
        windows: int = 1,
        activate_first: bool = True,
    ) -> None:
        super().__init__()
        self.query, self.key, self.value = query, key, value
        self.value_conv = value_conv
        self.position_bias = position_bias
        self.mix_logits, self.mix_weights = mix_logits, mix_weights
        self.project, self.act = project, act
        self.heads, self.windows, self.activate_first = heads, windows, activate_first

    def forward(self, tokens: Tensor) -> Tensor:
        size = tokens.shape[1:3]
        head_dim = tokens.shape[3] // self.heads
        value = self.value_conv(self.value(tokens).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        query = split(self.query(tokens) * head_dim**-0.5, self.windows, self.heads)
        key, value = split(self.key(tokens), self.windows, self.heads), split(value, self.windows, self.heads)

        window = window_side(size[0], self.windows), window_side(size[1], self.windows)
        logits = query @ key.transpose(2, 3) + self.position_bias(*window)
        weights = self.mix_weights(hide_padding(self.mix_logits(logits), size, self.windows).softmax(dim=3))
        mixed = join(weights.to(value.dtype) @ value, size, self.windows)
        return self.project(self.act(mixed)) if self.activate_first else self.act(self.project(mixed))

    def extra_repr(self) -> str:
        return f"heads={self.heads}, windows={self.windows}, activate_first={self.activate_first}"
