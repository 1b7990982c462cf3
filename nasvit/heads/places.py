"""The places of an image that a detector's outputs belong to."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from nasvit.heads.head import Size


def map_sizes(size: Size, strides: Sequence[int]) -> list[Size]:
    """Return height and width of the map of every stride; a rest at the edge counts as a whole place.

    Args:
        size: of the images, in pixels.
        strides: pixels between two places.
    """
    height, width = size
    return [(-(-height // stride), -(-width // stride)) for stride in strides]


def centers(size: Size, strides: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the centers of all places, finest map first and row by row, and the stride of each.

    The first place of every map lies at pixel 0, as in torchvision.

    Returns:
        float32 ``(places, 2)``, x and y in pixels, and float32 ``(places,)``.
    """
    found: tuple[Tensor, Tensor] = _centers(size, strides, device)
    return found


def kept(make: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the tensors that a function makes, for calls with equal arguments."""

    @functools.lru_cache(maxsize=64)
    def made(*arguments: Any) -> Any:
        # What an evaluation made must be fit for training, and who counts or fakes operations must not see this one.
        with torch.inference_mode(False), _disable_current_modes():
            return make(*arguments)

    @functools.wraps(make)
    def given(*arguments: Any) -> Any:
        # What a network is traced with for export has no values, and must not be kept for later calls.
        return make(*arguments) if torch.compiler.is_compiling() else made(*arguments)

    return given


@kept
def _centers(size: Size, strides: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    points, steps = [], []
    for stride, (height, width) in zip(strides, map_sizes(size, strides), strict=True):
        rows = torch.arange(height, device=device, dtype=torch.float32) * stride
        columns = torch.arange(width, device=device, dtype=torch.float32) * stride
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        points.append(torch.stack([x.flatten(), y.flatten()], dim=1))
        steps.append(torch.full((height * width,), float(stride), device=device))
    return torch.cat(points), torch.cat(steps)


def check_places(outputs: Tensor, size: Size, strides: Sequence[int], anchors: int = 1) -> None:
    """Refuse outputs that are not for the places of an image of that size.

    Raises:
        ValueError: naming the numbers.
    """
    expected = anchors * sum(height * width for height, width in map_sizes(size, strides))
    if outputs.shape[1] != expected:
        raise ValueError(
            f"the detector has {outputs.shape[1]} outputs for an image of {size[0]}x{size[1]} pixels, and strides "
            f"{tuple(strides)} have {expected}; a height and a width that are multiples of {max(strides)} agree always"
        )
