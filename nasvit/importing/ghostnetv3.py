"""Names of the tensors of GhostNetV3 in timm, with branches and fused."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import nn

from nasvit.branches.fuse import fuse
from nasvit.importing.releases import Release, ReleasedTensor, renamed
from nasvit.models.ghostnet_v3 import GhostOptions
from nasvit.specs import GhostNetSpec

_OUTSIDE = {
    "stem.conv.": "conv_stem.",
    "stem.norm.": "bn1.",
    "head.expand.conv.": "blocks.9.0.conv.",
    "head.expand.norm.": "blocks.9.0.bn1.",
    "head.mix.conv.": "conv_head.",
    "head.classifier.": "classifier.",
}
_IN_BLOCKS = {
    "depthwise.branches.": "dw_rpr_conv.",
    "depthwise.scale.": "dw_rpr_scale.",
    "depthwise.conv.": "conv_dw.",
    "squeeze_excite.reduce.": "se.conv_reduce.",
    "squeeze_excite.expand.": "se.conv_expand.",
    "shortcut.depthwise.conv.": "shortcut.0.",
    "shortcut.depthwise.norm.": "shortcut.1.",
    "shortcut.project.conv.": "shortcut.2.",
    "shortcut.project.norm.": "shortcut.3.",
}
_IN_MODULES = {
    "primary.branches.": "primary_rpr_conv.",
    "primary.conv.": "primary_conv.0.",
    "cheap.branches.": "cheap_rpr_conv.",
    "cheap.scale.": "cheap_rpr_scale.",
    "cheap.identity.": "cheap_rpr_skip.",
    "cheap.conv.": "cheap_operation.0.",
    "attention.mix.conv.": "short_conv.0.",
    "attention.mix.norm.": "short_conv.1.",
    "attention.horizontal.conv.": "short_conv.2.",
    "attention.horizontal.norm.": "short_conv.3.",
    "attention.vertical.conv.": "short_conv.4.",
    "attention.vertical.norm.": "short_conv.5.",
}
_MODULES = {"widen": "ghost1", "narrow": "ghost2"}


def release(source: str, title: str, width: float, *, fused: bool = False) -> Release:
    """Return the release of a GhostNetV3 in timm.

    Args:
        source: the name by which users ask for it.
        title: title of the release, for messages.
        width: width multiplier.
        fused: whether the branches are fused.
    """

    spec = GhostNetSpec(width, options=GhostOptions())

    def build(classes: int) -> nn.Module:
        network = spec.build(classes)
        return fuse(network.eval()) if fused else network

    return Release(source, title, build, entries, classifier="classifier", spec=None if fused else spec)


def entries(network: nn.Module) -> Iterator[ReleasedTensor]:
    """List the tensors of a GhostNetV3 by timm's names."""
    for name, tensor in network.state_dict().items():
        yield ReleasedTensor(released_name(name), name, tuple(tensor.shape))


def released_name(name: str) -> str:
    """Return timm's name of a tensor of ours.

    Raises:
        ValueError: if timm has no such tensor.
    """
    found = re.fullmatch(r"stages\.(\d+)\.(\d+)\.(\w+)\.(.*)", name)
    if found is None:
        return renamed(name, _OUTSIDE)
    block, part, rest = f"blocks.{found[1]}.{found[2]}", found[3], found[4]
    if part in _MODULES:
        part, rest = _MODULES[part], renamed(rest, _IN_MODULES)
        inner = f"{part}.{rest}"
    else:
        inner = renamed(f"{part}.{rest}", _IN_BLOCKS)
    if "_rpr_" in inner:
        inner = inner.replace(".norm.", ".bn1.")
    return f"{block}.{inner}"


RELEASES = tuple(
    release(f"ghostnetv3_{round(100 * width):03d}", f"GhostNetV3 {width}x (Liu et al., 2024)", width)
    for width in (0.5, 1.0, 1.3, 1.6)
)
"""GhostNetV3 at its published widths."""
