"""Transformer blocks made of residual branches."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class ChannelScale(nn.Module):
    """Multiply every channel by a learned number.

    Args:
        weight: the numbers, shape ``(channels,)``.
        factor: a constant factor.

    Shape:
        ``(..., channels) -> (..., channels)``
    """

    def __init__(self, weight: nn.Parameter, factor: float = 1.0) -> None:
        super().__init__()
        self.weight = weight
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.weight if self.factor == 1 else self.weight * self.factor)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, factor={self.factor:g}"


class ResidualBranch(nn.Module):
    """``x + scale(body(norm(x)))``.

    Args:
        norm: normalizes the tokens.
        body: attention or MLP.
        scale: scales the result.

    Shape:
        ``(batch, height, width, channels) -> (batch, height, width, channels)``
    """

    def __init__(self, norm: nn.Module, body: nn.Module, scale: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.body = body
        self.scale = scale
        self.drop_path: nn.Module | None = None

    def forward(self, tokens: Tensor) -> Tensor:
        change: Tensor = self.scale(self.body(self.norm(tokens)))
        return tokens + (change if self.drop_path is None else self.drop_path(change))


class TransformerBlock(nn.Module):
    """Attention and MLPs in residual branches, applied in the order given, on a map.

    Args:
        branches: the branches by name.

    Shape:
        ``(batch, channels, height, width) -> (batch, channels, height, width)``; channels-last costs no copies.
    """

    def __init__(self, branches: Mapping[str, ResidualBranch]) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(branches)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.permute(0, 2, 3, 1)
        for branch in self.branches.values():
            tokens = branch(tokens)
        return tokens.permute(0, 3, 1, 2)
