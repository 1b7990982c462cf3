"""Deterministic initialization: every tensor's values follow from the seed, its name and its shape alone."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor, nn

from nasvit.elastic.attention import ElasticRelativePositionBias
from nasvit.elastic.conv import ElasticConv2d, ElasticDepthwiseConv2d
from nasvit.elastic.head import ElasticHead
from nasvit.elastic.linear import ElasticLinear
from nasvit.elastic.mbconv import ElasticMBConv
from nasvit.elastic.transformer import ElasticTransformerBlock


@torch.no_grad()
def initialize(network: nn.Module, seed: int) -> None:
    """Give the elastic layers of ``network`` their first values.

    Convolutions: normal, variance ``2 / fan_out`` (He et al., 2015). Linear layers and position tables: truncated
    normal, deviation 0.02 (Liu et al., Swin Transformer, 2021); the classifier: 0.01. Talking heads start as the
    identity, so that attention starts as ordinary attention. Where a space says so, the last batch norm of an MBConv
    starts at gain zero (Goyal et al., 2017). Switchable scales start at the space's ``scale_init``.

    Args:
        network: a supernet or any elastic layer.
        seed: any integer.
    """
    for name, module in network.named_modules():
        if isinstance(module, ElasticConv2d):
            fan_out = module.out_channels * module.kernel_size**2
            _normal(module.weight, (2 / fan_out) ** 0.5, seed, f"{name}.weight")
        elif isinstance(module, ElasticDepthwiseConv2d):
            _normal(module.weight, (2 / module.kernel_size**2) ** 0.5, seed, f"{name}.weight")
        elif isinstance(module, ElasticLinear):
            _normal(module.weight, 0.02, seed, f"{name}.weight", cut=2)
        elif isinstance(module, ElasticRelativePositionBias):
            _normal(module.table, 0.02, seed, f"{name}.table", cut=2)
    for name, module in network.named_modules():
        if isinstance(module, ElasticHead):
            _normal(module.classifier.weight, 0.01, seed, f"{name}.classifier.weight")
        elif isinstance(module, ElasticMBConv) and module.options.zero_init_last_gain and module.has_shortcut:
            assert module.project.norm is not None
            nn.init.zeros_(module.project.norm.weight)
        elif isinstance(module, ElasticTransformerBlock):
            nn.init.constant_(module.attention_scale.weight, module.options.scale_init)
            nn.init.constant_(module.mlp_scale.weight, module.options.scale_init)


def _normal(tensor: Tensor, deviation: float, seed: int, name: str, cut: float | None = None) -> None:
    if tensor.is_meta:
        return
    generator = torch.Generator().manual_seed(seed * 0x9E3779B1 + zlib.crc32(name.encode()) & 0x7FFFFFFFFFFFFFFF)
    values = torch.randn(tensor.shape, generator=generator)
    tensor.copy_((values if cut is None else values.clamp(-cut, cut)) * deviation)
