"""Relative position bias of attention over a square window."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def relative_positions(side: int, device: torch.device | None = None) -> Tensor:
    """Return, for every pair of tokens of a square window, the row of the flattened bias table that holds its bias.

    Args:
        side: tokens along a side of the window.
        device: device of the result, which is computed there; the processor if left out.

    Returns:
        int64, shape ``(side ** 4,)``, query-major.
    """
    row, column = (axis.flatten() for axis in torch.meshgrid(*[torch.arange(side, device=device)] * 2, indexing="ij"))
    rows = row[:, None] - row[None, :] + side - 1
    columns = column[:, None] - column[None, :] + side - 1
    return (rows * (2 * side - 1) + columns).flatten()


class RelativePositionBias(nn.Module):
    """A learned bias for every head and every offset between two tokens of a window.

    Source: Liu et al., Swin Transformer (2021), section 3.2, https://arxiv.org/abs/2103.14030

    Args:
        table: the biases, shape ``(2 * side - 1, 2 * side - 1, heads)``.

    Shape:
        ``() -> (heads, side ** 2, side ** 2)``
    """

    index: Tensor

    def __init__(self, table: nn.Parameter) -> None:
        super().__init__()
        self.table = table
        self.side = (table.shape[0] + 1) // 2
        self.register_buffer("index", relative_positions(self.side, table.device), persistent=False)

    def forward(self) -> Tensor:
        tokens, heads = self.side**2, self.table.shape[2]
        rows = self.table.reshape(-1, heads).index_select(0, self.index)
        return rows.t().reshape(heads, tokens, tokens)

    def extra_repr(self) -> str:
        return f"side={self.side}, heads={self.table.shape[2]}"
