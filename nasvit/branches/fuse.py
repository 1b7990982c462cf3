"""Fuse the branches of a trained network, and its batch norms if asked, into single convolutions."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from nasvit.elastic.base import is_live
from nasvit.layers.conv_norm import ConvNorm
from nasvit.layers.reparameterized import FOLDABLE, Reparameterized, folded, replace_modules

M = TypeVar("M", bound=nn.Module)


@torch.no_grad()
def fuse(network: M, *, batch_norms: bool = False) -> M:
    """Return a copy of ``network`` whose branched convolutions are one each; it computes the same in evaluation.

    Equality is up to float rounding, and does not hold in training, where batch norms use the batch.

    Args:
        network: any network; modules without branches are copied unchanged.
        batch_norms: also fold every other batch norm into its convolution, where they stand in a ``ConvNorm``.

    Raises:
        ValueError: if the network shares its weights with a supernet or is in training mode, or a batch norm stores no
            statistics.
    """
    if is_live(network):
        raise ValueError("fuse: this is a live subnet, whose weights are its supernet's; extract it first")
    if network.training:
        raise ValueError("fuse: in training mode batch norms use the batch, not what is stored; call eval() first")
    network = copy.deepcopy(network)
    if isinstance(network, Reparameterized):
        return network.fuse()  # type: ignore[return-value]
    branched = [module for module in network.modules() if isinstance(module, Reparameterized)]
    replace_modules(network, {module: module.fuse() for module in branched})
    if batch_norms:
        for module in network.modules():
            if isinstance(module, ConvNorm):
                _fold_norm(module)
    return network


def _fold_norm(unit: ConvNorm) -> None:
    if not isinstance(unit.norm, FOLDABLE):
        return
    kernel, bias = folded(unit.conv, unit.norm)
    unit.conv.weight.copy_(kernel)
    unit.conv.bias = nn.Parameter(bias.to(unit.conv.weight.dtype))
    unit.norm = None
