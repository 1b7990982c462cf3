"""Which maps a network computes: found by running a copy of it that has no values."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasvit.backbones.ways import Way
from nasvit.layers.network import Resize

USUAL_SIDE = 224
CLEAR_SIDE = 512  # in smaller images a layer without padding may lose half of a map, and the stride looks doubled


@dataclass(frozen=True)
class Found:
    """A map that a network computes.

    Args:
        name: of what makes it.
        channels: its channels.
        stride: pixels of the images for one of the map.
    """

    name: str
    channels: int
    stride: int


def usual_shape(network: nn.Module) -> tuple[int, int, int]:
    """Return the shape ``(channels, height, width)`` of the images that a network was made for."""
    first = next((each for each in network.modules() if isinstance(each, nn.Conv2d)), None)
    channels = 3 if first is None else first.in_channels * (first.groups if first.groups > 1 else 1)
    resize, told = getattr(network, "resize", None), getattr(network, "pretrained_cfg", None)
    if isinstance(resize, Resize):
        return channels, resize.side, resize.side
    if isinstance(told, Mapping) and "input_size" in told:
        return channels, int(told["input_size"][1]), int(told["input_size"][2])
    return channels, USUAL_SIDE, USUAL_SIDE


def find_maps(network: nn.Module, way: Way, shape: tuple[int, ...]) -> list[Found]:
    """Return the maps of a network; of several of one stride the last is the one to take.

    Args:
        network: the network.
        way: how its maps are had.
        shape: shape ``(channels, height, width)`` of an image.

    Raises:
        ValueError: if the network does not run with such images, or cannot be traced.
    """
    if way.any_size:
        shape = (*shape[:-2], *(max(side, CLEAR_SIDE) for side in shape[-2:]))
    height, width = shape[-2:]
    found = []
    for name, each in _maps(network, way, shape).items():
        stride = _stride(height, each.shape[-2])
        if stride == _stride(width, each.shape[-1]):
            found.append(Found(name, each.shape[1], stride))
    return found


@torch.no_grad()
def _maps(network: nn.Module, way: Way, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Return all maps of a copy, where possible on the meta device: without values, and so in next to no time."""
    whole = (*network.parameters(), *network.buffers())
    memo = {id(each): _without_values(each) for each in whole}
    try:
        # Two images in training: some batch norms have no statistics yet, and others need several values.
        return way.maps(copy.deepcopy(network, memo).train(), torch.empty(2, *shape, device="meta"))
    except (RuntimeError, AssertionError):  # such as an operation that is not defined there
        device = whole[0].device if whole else None
    try:
        return way.maps(copy.deepcopy(network).train(), torch.zeros(2, *shape, device=device))
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"{type(network).__name__} does not run with images of shape {shape}: {error}; give another shape"
        ) from error


def _without_values(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor.detach(), device="meta")
    return nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty


def _stride(side: int, found: int) -> int:
    """Return the pixels of an image of ``side`` for one of its map; layers without padding lose some at the edge."""
    power: int = 2 ** round(math.log2(side / found))
    return power if found <= -(-side // power) else round(side / found)
