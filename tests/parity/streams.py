"""Weights and inputs that are functions of their names: the streams and fills of the golden folders' rule files.

Every number comes from Philox4x64-10 keyed by the CRC-32 of a name, so nothing has to be downloaded or stored.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Shape = Sequence[int]
Float = NDArray[np.float64]
Fill = Callable[[str, Shape], Tensor]


def uniform(name: str, count: int) -> Float:
    """Return the first ``count`` numbers of the stream called ``name``, uniform in [0, 1)."""
    raw = np.random.Philox(key=zlib.crc32(name.encode())).random_raw(count)
    return (np.asarray(raw, dtype=np.uint64) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def unit_noise(name: str, shape: Shape) -> Float:
    """Uniform numbers of mean 0 and variance 1, as the NASViT rule makes them."""
    return ((uniform(name, math.prod(shape)) - 0.5) * 3.4641016151377544).reshape(tuple(shape))


def symmetric_noise(name: str, shape: Shape) -> Float:
    """Uniform numbers of mean 0 and variance 1, as the AlphaNet rule makes them (it rounds elsewhere)."""
    return (1.7320508075688772 * (2 * uniform(name, math.prod(shape)) - 1)).reshape(tuple(shape))


def tensor(values: Float) -> Tensor:
    """Round to float32, as every stored tensor is."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def nasvit_input(name: str, shape: Shape) -> Tensor:
    """An input of the NASViT cases, in float64 (values rounded to float32)."""
    return tensor(unit_noise(name, shape)).double()


def alphanet_input(tag: str, shape: Shape) -> Tensor:
    """An input of the AlphaNet and FBNetV3 cases, in float64 (values rounded to float32)."""
    return tensor(symmetric_noise(f"input:{tag}:{'x'.join(map(str, shape))}", shape)).double()


def compact_input(tag: str, shape: Shape) -> Tensor:
    """An image batch of the compact models' cases, in float64 (values rounded to float32)."""
    name = f"input:{tag}:{'x'.join(map(str, shape))}"
    return tensor((4 * uniform(name, math.prod(shape)) - 2).reshape(tuple(shape))).double()


def nasvit_tensor(name: str, shape: Shape) -> Tensor:
    """A tensor of the released NASViT supernet, from its state-dict name and shape."""
    last = name.rpartition(".")[2]
    if last == "num_batches_tracked":
        return torch.zeros(tuple(shape), dtype=torch.int64)
    if last == "relative_position_index":
        return _relative_position_index(shape)
    if last == "running_var":
        return tensor(0.5 + uniform(name, math.prod(shape)).reshape(tuple(shape)))
    noise = unit_noise(name, shape)
    if last in ("rescale_mlp", "rescale_attn"):
        return tensor(shape[-1] / 8 * (0.5 + 0.25 * noise))
    return tensor(_nasvit_values(name, last, noise))


def _nasvit_values(name: str, last: str, noise: Float) -> Float:
    if last == "relative_position_bias_table":
        return 0.5 * noise
    if last == "rescale" or (noise.ndim == 1 and last == "weight"):
        return 1 + 0.1 * noise
    if name.endswith("proj_w.linear.bias"):
        return 0.002 * noise
    if noise.ndim == 1:
        return 0.1 * noise
    return noise * math.sqrt(1 / math.prod(noise.shape[1:]))


def _relative_position_index(shape: Shape) -> Tensor:
    side = math.isqrt(shape[0])
    row, column = np.divmod(np.arange(shape[0]), side)
    rows = row[:, None] - row[None, :] + side - 1
    columns = column[:, None] - column[None, :] + side - 1
    return torch.from_numpy((rows * (2 * side - 1) + columns).astype(np.int64))


def alphanet_tensor(name: str, shape: Shape) -> Tensor:
    """A tensor of the released AlphaNet supernet, of FBNetV3 or of timm's FBNetV3."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros(tuple(shape), dtype=torch.int64)
    if name.endswith(".running_var"):
        return tensor(0.5 + uniform(name, math.prod(shape)).reshape(tuple(shape)))
    noise = symmetric_noise(name, shape)
    if noise.ndim >= 2:
        return tensor(noise / np.sqrt(float(math.prod(shape[1:]))))
    return tensor(1 + 0.1 * noise if name.endswith(".weight") else 0.1 * noise)


def compact_tensor(name: str, shape: Shape, gain: float) -> Tensor:
    """A tensor of the compact models (slimmable nets, NetAug, GhostNetV3); ``gain`` is quoted in each case file."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros(tuple(shape), dtype=torch.int64)
    drawn = uniform(name, math.prod(shape)).reshape(tuple(shape))
    if name.endswith(".running_var"):
        return tensor(0.5 + drawn)
    if name.endswith(".running_mean"):
        return tensor(0.2 * (2 * drawn - 1))
    if drawn.ndim >= 2:
        return tensor((2 * drawn - 1) * gain * math.sqrt(6 / math.prod(shape[1:])))
    return tensor(0.75 + 0.5 * drawn if name.endswith(".weight") else 0.2 * (2 * drawn - 1))


def state_dict(layout: Mapping[str, Shape], fill: Fill) -> dict[str, Tensor]:
    """Fill every tensor of a layout (names and shapes)."""
    return {name: fill(name, shape) for name, shape in layout.items()}
