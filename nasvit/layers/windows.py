"""Windows of a map for attention: as many along each side as asked, whatever the size of the map.

A map that does not divide into them is padded at the bottom and right; where it does, no operation is added.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def window_side(side: int, windows: int) -> int:
    """Return the tokens along a side of a window, of ``windows`` that cover a map of ``side`` tokens."""
    return -(-side // windows)


def split(x: Tensor, windows: int, heads: int) -> Tensor:
    """Cut a map into windows and its channels into heads; missing tokens at the bottom and right are zeros.

    Args:
        x: the map, shape ``(batch, height, width, heads * d)``.
        windows: windows along each side.
        heads: number of heads.

    Returns:
        shape ``(batch * windows ** 2, heads, window tokens, d)``
    """
    x = _padded(x, windows)
    batch, height, width, channels = x.shape
    if windows > 1:  # before heads are split: tensors of more than six axes are not for every runtime on a device
        x = x.reshape(batch, windows, height // windows, windows, width // windows, channels).transpose(2, 3)
    parts = x.reshape(batch * windows * windows, -1, heads, channels // heads).transpose(1, 2)
    return parts.contiguous() if windows > 1 else parts


def join(x: Tensor, size: Sequence[int], windows: int) -> Tensor:
    """Undo :func:`split` for a map of ``size``, without the tokens that it added."""
    height, width = (window_side(side, windows) * windows for side in size)
    channels = x.shape[1] * x.shape[3]
    x = x.transpose(1, 2)
    if windows > 1:
        x = x.reshape(-1, windows, windows, height // windows, width // windows, channels).transpose(2, 3)
    x = x.reshape(-1, height, width, channels)
    return x if (height, width) == tuple(size) else x[:, : size[0], : size[1]]


def hide_padding(logits: Tensor, size: Sequence[int], windows: int) -> Tensor:
    """Make the keys that :func:`split` added to a map of ``size`` weigh nothing after the softmax.

    Args:
        logits: shape ``(batch * windows ** 2, heads, window tokens, window tokens)``, keys last.
        size: height and width of the map.
        windows: windows along each side.
    """
    if size[0] % windows == 0 and size[1] % windows == 0:
        return logits
    added_rows, added_columns = (_added(side, windows, logits.device) for side in size)
    added = added_rows[:, None, :, None] | added_columns[None, :, None, :]
    mask = added.reshape(windows**2, 1, 1, -1).repeat(logits.shape[0] // windows**2, 1, 1, 1)
    # The least number rather than minus infinity: a window of added keys alone would have no softmax.
    return logits.masked_fill(mask, torch.finfo(logits.dtype).min)


def _padded(x: Tensor, windows: int) -> Tensor:
    below, right = -x.shape[1] % windows, -x.shape[2] % windows
    return F.pad(x, (0, 0, 0, right, 0, below)) if below or right else x


def _added(side: int, windows: int, device: torch.device) -> Tensor:
    """Say of every row (or column) whether padding added it, shape ``(windows, rows of a window)``."""
    return torch.arange(window_side(side, windows) * windows, device=device).reshape(windows, -1) >= side
