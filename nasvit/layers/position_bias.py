"""Relative position bias of attention over a window."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F


def relative_positions(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return, for every pair of tokens of a window, the row of the flattened bias table that holds its bias.

    Args:
        height: tokens along the left side of the window.
        width: tokens along its upper side.
        device: device of the result, which is computed there; the processor if left out.

    Returns:
        int64, shape ``((height * width) ** 2,)``, query-major.
    """
    row, column = torch.arange(height, device=device), torch.arange(width, device=device)
    number = (row[:, None] * (2 * width - 1) + column).flatten()  # differences of numbers are those of rows and columns
    middle = (height - 1) * (2 * width - 1) + width - 1
    return (number[:, None] - (number - middle)).flatten()


def resized_table(table: Tensor, height: int, width: int) -> Tensor:
    """Return a table of biases for windows of another size: the same offset in the image keeps its bias.

    Bicubic, as users of Swin Transformer do (timm's ``resize_rel_pos_bias_table_simple`` among them).

    Args:
        table: the biases, shape ``(2 * side - 1, 2 * side - 1, heads)``.
        height: tokens along the left side of the new window.
        width: tokens along its upper side.

    Returns:
        shape ``(2 * height - 1, 2 * width - 1, heads)``
    """
    size, maps = (2 * height - 1, 2 * width - 1), table.permute(2, 0, 1)[None]
    if table.is_meta:  # where only shapes count, and PyTorch makes hundreds of operations of the bicubic one
        return F.interpolate(maps, size=size)[0].permute(1, 2, 0)
    return F.interpolate(maps, size=size, mode="bicubic", align_corners=False)[0].permute(1, 2, 0)


class RelativePositionBias(nn.Module):
    """A learned bias for every head and every offset between two tokens of a window.

    Source: Liu et al., Swin Transformer (2021), section 3.2, https://arxiv.org/abs/2103.14030

    Args:
        table: the biases, shape ``(2 * side - 1, 2 * side - 1, heads)``, for windows of ``side`` by ``side`` tokens.

    Shape:
        a window's ``height, width -> (heads, height * width, height * width)``
    """

    index: Tensor

    def __init__(self, table: nn.Parameter) -> None:
        super().__init__()
        self.table = table
        self.side = (table.shape[0] + 1) // 2
        self.register_buffer("index", relative_positions(self.side, self.side, table.device), persistent=False)

    def forward(self, height: int, width: int) -> Tensor:
        return _biases(self.table, self.index, height, width)

    def extra_repr(self) -> str:
        return f"side={self.side}, heads={self.table.shape[2]}"


def _biases(table: Tensor, index: Tensor, height: int, width: int) -> Tensor:
    """Look the biases up; ``index`` holds the rows of a window of the table's own size."""
    tokens, heads = height * width, table.shape[2]
    if (2 * height - 1, 2 * width - 1) != table.shape[:2]:
        table, index = resized_table(table, height, width), relative_positions(height, width, table.device)
    rows = table.reshape(-1, heads).index_select(0, index)
    return rows.t().reshape(heads, tokens, tokens)


fx.wrap("_biases")  # it decides by sizes, which torch.fx cannot follow
