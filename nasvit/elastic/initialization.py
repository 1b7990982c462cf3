"""Deterministic initialization: every tensor's values follow from the seed, its name and its shape alone."""

from __future__ import annotations

import zlib
from typing import Literal

import torch
from torch import Tensor, nn

from nasvit.elastic.attention import ElasticRelativePositionBias
from nasvit.elastic.conv import ElasticConv2d, ElasticDepthwiseConv2d
from nasvit.elastic.linear import ElasticLinear


@torch.no_grad()
def initialize(network: nn.Module, seed: int, *, fan: Literal["out", "in"] = "out") -> None:
    """Initialize the elastic layers of ``network`` in place.

    Convolutions: normal, variance ``2 / fan_out`` (He et al., 2015). Linear layers and position tables: truncated
    normal, deviation 0.02 (Liu et al., Swin Transformer, 2021), unless the layer says otherwise. Gains, scales and
    talking heads keep the values that their layers set.

    Args:
        network: a supernet or any elastic layer.
        seed: any integer.
        fan: "in" draws convolutions uniformly within ``1 / sqrt(fan_in)``, PyTorch's own rule, which the released
            NetAug needs: the fan-out of its widest network is many times that of the tiny one.
    """
    for name, module in network.named_modules():
        if isinstance(module, (ElasticConv2d, ElasticDepthwiseConv2d)):
            _convolution(module, seed, f"{name}.weight", fan)
        elif isinstance(module, ElasticLinear):
            own = module.deviation
            _normal(module.weight, own or 0.02, seed, f"{name}.weight", cut=2 if own is None else None)
        elif isinstance(module, ElasticRelativePositionBias):
            _normal(module.table, 0.02, seed, f"{name}.table", cut=2)


def _convolution(conv: ElasticConv2d | ElasticDepthwiseConv2d, seed: int, name: str, fan: str) -> None:
    fan_out, fan_in = (conv.weight.shape[axis] * conv.kernel_size**2 for axis in (0, 1))
    if fan == "in":
        _uniform(conv.weight, fan_in**-0.5, seed, name)
    else:  # one filter a channel: each has its own output
        fan_out = conv.kernel_size**2 if isinstance(conv, ElasticDepthwiseConv2d) else fan_out
        _normal(conv.weight, (2 / fan_out) ** 0.5, seed, name)


def _uniform(tensor: Tensor, bound: float, seed: int, name: str) -> None:
    if not tensor.is_meta:
        tensor.copy_((torch.rand(tensor.shape, generator=_generator(seed, name)) * 2 - 1) * bound)


def _generator(seed: int, name: str) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 0x9E3779B1 + zlib.crc32(name.encode()) & 0x7FFFFFFFFFFFFFFF)


def _normal(tensor: Tensor, deviation: float, seed: int, name: str, cut: float | None = None) -> None:
    if tensor.is_meta:
        return
    values = torch.randn(tensor.shape, generator=_generator(seed, name))
    tensor.copy_((values if cut is None else values.clamp(-cut, cut)) * deviation)
