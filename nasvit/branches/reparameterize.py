"""Add branches for training to the convolutions of any network; :func:`nasvit.branches.fuse` removes them again."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import torch
from torch import nn

from nasvit.branches.pairs import Pair, of_timm, pairs_in, plain_norm, rest_of
from nasvit.elastic.base import is_live
from nasvit.layers.batch_norm import BatchNorm2d
from nasvit.layers.conv_norm import ConvNorm
from nasvit.layers.reparameterized import Reparameterized, is_centered, replace_modules
from search_spaces.ranges import Checked, Range

M = TypeVar("M", bound=nn.Module)


def norms() -> tuple[type[nn.Module], ...]:
    """Return batch norms that are known to compute what ``nn.BatchNorm2d`` does, the last with an activation too."""
    return (nn.BatchNorm2d, BatchNorm2d, *of_timm("BatchNormAct2d"))


@dataclass(frozen=True)
class Branches(Checked):
    """Branches that convolutions train with; see :func:`reparameterize`.

    Args:
        count: convolutions side by side.
        scale: add a 1x1 branch to depthwise convolutions.
        identity: add the input to depthwise convolutions that keep the size.
    """

    count: Annotated[int, Range(1, 64)] = 3
    scale: bool = True
    identity: bool = True


def reparameterize(
    network: M,
    branches: int = 3,
    *,
    scale: bool = True,
    identity: bool = True,
    names: Sequence[str] = (),
    keep_output: bool = False,
    seed: int = 0,
) -> M:
    """Return a copy of ``network`` whose 1x1 and depthwise convolutions are several side by side.

    A 1x1 convolution with its batch norm becomes ``branches`` of them, summed; a depthwise one as many, a 1x1 depthwise
    one, and a batch norm of the input where the convolution keeps the size. The first branch has the old values, the
    others start anew. Every other convolution stays as it is, and so do convolutions without a batch norm of their own.

    Source: Liu et al., GhostNetV3 (2024), section 4.1, https://arxiv.org/abs/2404.11202. There the branches stand in
    ghost modules; the release has no code for other networks, so this is the same pattern wherever it is legal.

    Args:
        network: ours or a user's; it must be possible to trace it with ``torch.fx`` to see which batch norm follows
            which convolution.
        branches: convolutions side by side.
        scale: add a 1x1 depthwise branch to depthwise convolutions.
        identity: add the input to depthwise convolutions of stride 1.
        names: the convolutions to take, of any kernel size without groups or depthwise; all 1x1 and depthwise ones
            that allow it if left out.
        keep_output: let the new branches start at gain 0, so that a trained network goes on from where it is.
        seed: seed of the new branches' values.

    Raises:
        ValueError: if there is less than one branch, the network shares its weights with a supernet or cannot be
            traced, a named convolution cannot have branches, or none can.
    """
    if branches < 1:
        raise ValueError(f"branches={branches}; one convolution is the least")
    if is_live(network):
        raise ValueError("reparameterize: this is a live subnet, whose weights are its supernet's; extract it first")
    network = copy.deepcopy(network)
    pairs = _pairs(network, names)
    make = _Branching(branches, scale, identity, keep_output, torch.Generator().manual_seed(seed))
    new: dict[nn.Module, nn.Module] = {}
    for conv_name, norm_name in pairs.items():
        conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        new[conv], new[norm] = make(conv, norm), rest_of(norm)
    replace_modules(network, new)
    return network


def _pairs(network: nn.Module, names: Sequence[str]) -> dict[str, str]:
    """Return the batch norm of every convolution that gets branches."""
    pairs, reasons = _candidates(network)
    for name in names:
        if name not in pairs:
            raise ValueError(
                f"reparameterize: {name!r} cannot have branches: {reasons.get(name, 'there is no such convolution')}"
            )
    chosen = names or [name for name in pairs if _is_usual(network.get_submodule(name))]
    if not chosen:
        found = "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:3])
        raise ValueError(f"reparameterize: no 1x1 or depthwise convolution can have branches ({found or 'none found'})")
    return {name: pairs[name] for name in chosen}


def _candidates(network: nn.Module) -> tuple[dict[str, str], dict[str, str]]:
    """Return the convolutions that may get branches with their batch norms, and why the others may not."""
    pairs: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for pair in _traced_pairs(network):
        reason = _objection(pair.conv, pair.norm)
        if pair.shared:
            reason = (
                "it or its batch norm is shared: it runs at several places, so one replacement would change them all"
            )
        if reason:
            reasons[pair.conv_name] = reason
        else:
            pairs[pair.conv_name] = pair.norm_name
    return pairs, reasons


def _traced_pairs(network: nn.Module) -> list[Pair]:
    try:
        return list(pairs_in(network))
    except ValueError as error:
        raise ValueError(f"reparameterize: {error}; apply it to the parts that can be") from error


def _objection(conv: nn.Conv2d, norm: nn.Module | None) -> str | None:
    if conv.groups not in (1, conv.in_channels) or (conv.groups > 1 and conv.out_channels != conv.in_channels):
        return f"it has {conv.groups} groups for {conv.in_channels} channels; legal are 1 group and depthwise"
    if type(conv) in of_timm("Conv2dSame"):
        return "it pads by the size of its input, as TensorFlow does"
    if "weight" not in conv._parameters:
        return "its weight is computed from other parameters (a parametrization); remove that first"
    if type(norm) not in norms():
        return f"what follows it is {'no layer' if norm is None else type(norm).__name__}, not a batch norm of its own"
    return None


def _is_usual(conv: nn.Module) -> bool:
    assert isinstance(conv, nn.Conv2d)
    return conv.groups > 1 or conv.kernel_size == (1, 1)


class _Branching:
    """Builds the branches of one convolution after the other."""

    def __init__(
        self, branches: int, scale: bool, identity: bool, keep_output: bool, generator: torch.Generator
    ) -> None:
        self.branches, self.scale, self.identity = branches, scale, identity
        self.keep_output, self.generator = keep_output, generator

    def __call__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Reparameterized:
        branches = [ConvNorm(conv, plain_norm(norm))]
        branches += [self._unit(copy.deepcopy(conv), norm) for _ in range(self.branches - 1)]
        wide = conv.groups > 1 and conv.kernel_size != (1, 1) and is_centered(conv)
        scale = self._unit(_one_by_one(conv), norm) if self.scale and wide else None
        keeps = conv.groups > 1 and conv.stride == (1, 1) and is_centered(conv)
        identity = self._fresh(norm) if self.identity and keeps else None
        return Reparameterized(branches, scale, identity).train(conv.training)

    def _unit(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> ConvNorm:
        """Fill a convolution with new values: normal, variance ``2 / fan_out`` (He et al., 2015)."""
        fan_out = conv.out_channels // conv.groups * conv.weight[0, 0].numel()
        with torch.no_grad():
            conv.weight.copy_(torch.randn(conv.weight.shape, generator=self.generator) * (2 / fan_out) ** 0.5)
            if conv.bias is not None:
                conv.bias.zero_()
        return ConvNorm(conv, self._fresh(norm))

    def _fresh(self, norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
        fresh = copy.deepcopy(plain_norm(norm))
        fresh.reset_parameters()
        if self.keep_output:
            nn.init.zeros_(fresh.weight)
        return fresh


def _one_by_one(conv: nn.Conv2d) -> nn.Conv2d:
    small = nn.Conv2d(conv.in_channels, conv.out_channels, 1, conv.stride, groups=conv.groups, bias=False)  # type: ignore[arg-type]
    return small.to(conv.weight).requires_grad_(conv.weight.requires_grad)
