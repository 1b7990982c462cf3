"""Tensors of one shape made into those of another: stems for gray images, and tables of positions."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasvit.importing.transfer.matching import Shape

_PREFIX_TOKENS = (0, 1, 2)  # class token, and that of a distillation, before those of patches


class Reshaping:
    """Makes tensors of other shapes into those that a network needs, where that means something.

    Args:
        network: the network.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        self.stem = next((name for name, shape in self.shapes.items() if len(shape) == 4 and shape[0] > 1), "")

    def __call__(self, name: str, tensor: Tensor) -> tuple[Tensor, str] | None:
        """Return a tensor in the shape that a tensor of the network has, and what was done; None if it cannot be.

        Args:
            name: name of the network's tensor.
            tensor: the tensor of the source.
        """
        wanted = self.shapes[name]
        if tuple(tensor.shape) == wanted:
            return tensor, ""
        if self.is_squeezed(name, tuple(tensor.shape)):
            return tensor.reshape(wanted), "axes of size 1 alone differ"
        if self.is_stem(name, tuple(tensor.shape)):
            return stem_of(tensor, wanted[1])
        table = self._table(name, tensor)
        if table is None:
            return None
        return table, "positions resized"

    def is_squeezed(self, name: str, found: Shape) -> bool:
        """Return whether shapes differ by axes of size 1 alone, as those of a linear layer and a 1x1 convolution."""
        ours, theirs = (tuple(size for size in shape if size != 1) for shape in (self.shapes[name], found))
        return ours == theirs

    def is_stem(self, name: str, found: Shape, wanted: Shape | None = None) -> bool:
        """Return whether a tensor is the first convolution, for gray images where the other's are colored or so."""
        wanted = wanted or self.shapes[name]
        return (
            name == self.stem
            and len(found) == 4
            and {found[1], wanted[1]} == {1, 3}
            and (found[0], *found[2:]) == (wanted[0], *wanted[2:])
        )

    def _table(self, name: str, tensor: Tensor) -> Tensor | None:
        """Return a table of positions for another number of them, as timm resizes it."""
        wanted, last = self.shapes[name], name.rpartition(".")[2]
        if tensor.dim() != len(wanted):
            return None
        if "pos_embed" in last or "position_embed" in last:
            return self._absolute(tensor, wanted)
        if last == "relative_position_bias_table" and tensor.shape[-1] == wanted[-1]:
            return self._relative(name, tensor, wanted)
        if name.endswith("position_bias.table") and tensor.dim() == 3 and tensor.shape[-1] == wanted[-1]:
            return _resized(tensor.movedim(2, 0)[None], wanted[:2])[0].movedim(0, 2)
        return None

    def _absolute(self, tensor: Tensor, wanted: Shape) -> Tensor | None:
        if len(wanted) == 4 and tensor.shape[:2] == torch.Size(wanted[:2]):
            return _resized(tensor, wanted[2:])
        if len(wanted) == 4 and tensor.shape[3] == wanted[3]:
            return _resized(tensor.movedim(3, 1), wanted[1:3]).movedim(1, 3)
        if len(wanted) != 3 or tensor.shape[2] != wanted[2]:
            return None
        from timm.layers import resample_abs_pos_embed  # timm takes seconds to import

        grid = getattr(getattr(self.network, "patch_embed", None), "grid_size", None)
        for first in _PREFIX_TOKENS:
            side, before = (math.isqrt(max(tokens - first, 0)) for tokens in (wanted[1], tensor.shape[1]))
            size = (side, side) if grid is None else (int(grid[0]), int(grid[1]))
            if size[0] * size[1] + first == wanted[1] and before**2 + first == tensor.shape[1] and before:
                return resample_abs_pos_embed(tensor, list(size), [before, before], num_prefix_tokens=first)
        return None

    def _relative(self, name: str, tensor: Tensor, wanted: Shape) -> Tensor | None:
        from timm.layers import resize_rel_pos_bias_table

        owner = self.network.get_submodule(name.rpartition(".")[0])
        side = (math.isqrt(wanted[0]) + 1) // 2
        window = getattr(owner, "window_size", None) or (side, side)
        if isinstance(window, int):
            window = (window, window)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # timm's interpolation is written for older PyTorch, and says so
            resized: Tensor = resize_rel_pos_bias_table(tensor, new_window_size=tuple(window), new_bias_shape=wanted)
        return resized if tuple(resized.shape) == wanted else None


def stem_of(weight: Tensor, channels: int) -> tuple[Tensor, str]:
    """Return a first convolution for images of 1 or 3 channels, and what was done.

    It is summed over the colors, or every color gets a third of it.
    """
    from timm.models import adapt_input_conv

    done = f"a stem for images of {channels} channels instead of {weight.shape[1]}"
    return adapt_input_conv(1, weight) if channels == 1 else weight.repeat(1, channels, 1, 1) / channels, done


def _resized(maps: Tensor, size: Shape) -> Tensor:
    """Return maps ``(n, channels, height, width)`` of another size, bicubically."""
    return F.interpolate(maps.float(), size=size, mode="bicubic", antialias=True, align_corners=False).to(maps.dtype)
