"""Fuse the branches of a trained network, and its batch norms if asked, into single convolutions."""

from __future__ import annotations

import copy
import warnings
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasvit.branches.pairs import Pair, frozen, pairs_in_parts, plain_norm, rest_of, with_activation
from nasvit.branches.reparameterize import norms
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
        batch_norms: also fold every other batch norm into the convolution that it alone follows, in networks of any
            library. Those that are left, such as one before its convolution, are told in a warning.

    Raises:
        ValueError: if the network shares its weights with a supernet or is in training mode, or a batch norm stores no
            statistics.
    """
    if is_live(network):
        raise ValueError("fuse: this is a live subnet, whose weights are its supernet's; extract it first")
    if network.training:
        raise ValueError("fuse: in training mode batch norms use the batch, not what is stored; call eval() first")
    network = copy.deepcopy(network).eval()  # a copy of a graph of torch.fx trains again
    if isinstance(network, Reparameterized):
        return network.fuse()  # type: ignore[return-value]
    branched = [module for module in network.modules() if isinstance(module, Reparameterized)]
    replace_modules(network, {module: module.fuse() for module in branched})
    if batch_norms:
        for module in network.modules():
            if isinstance(module, ConvNorm):
                _fold_norm(module)
        _fold_others(network)
    return network


def _fold_norm(unit: ConvNorm) -> None:
    if not isinstance(unit.norm, FOLDABLE):
        return
    _put_into(unit.conv, unit.norm)
    unit.norm = None


def _put_into(conv: nn.Conv2d, norm: nn.Module) -> None:
    kernel, bias = folded(conv, norm)
    conv.weight.copy_(kernel)
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype), conv.weight.requires_grad)


def _fold_others(network: nn.Module) -> None:
    """Fold batch norms that are no part of our layers, and say how many there are that cannot be folded."""
    before = _batch_norms(network)
    if not before:
        return
    pairs, reasons = pairs_in_parts(network)
    rests: dict[nn.Module, nn.Module] = {}
    for pair in filter(_is_foldable, pairs):
        assert pair.norm is not None
        _put_into(pair.conv, plain_norm(pair.norm))
        rests[pair.norm] = rest_of(pair.norm)
    replace_modules(network, rests)
    left = _batch_norms(network)
    if left:
        shown, more = ", ".join(left[:3]), ", ..." if len(left) > 3 else ""
        why = "; ".join(reasons) or "they follow no convolution that nothing else reads"
        warnings.warn(
            f"fuse: {len(left)} of {len(before)} batch norms stay ({shown}{more}): {why}", UserWarning, stacklevel=4
        )


def _is_foldable(pair: Pair) -> bool:
    """Return whether a layer is a batch norm that is known, and can become part of the convolution before it."""
    known = type(pair.norm) in (*norms(), nn.SyncBatchNorm, *with_activation(), *frozen())
    return known and not pair.shared and "weight" in pair.conv._parameters


def _batch_norms(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, (_BatchNorm, *frozen()))]
