"""Names of the tensors of AttentiveNAS, AlphaNet and NASViT, which share one code base."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import search_spaces
from nasvit.importing.releases import Release, ReleasedTensor, renamed
from nasvit.supernets.supernet import Supernet

_OUTSIDE = {
    "stem.conv.": "first_conv.conv.conv.",
    "stem.norm.": "first_conv.bn.bn.",
    "head.expand.conv.": "last_conv.final_expand_layer.conv.conv.",
    "head.expand.norm.": "last_conv.final_expand_layer.bn.bn.",
    "head.mix.conv.": "last_conv.feature_mix_layer.conv.conv.",
    "head.classifier.": "classifier.linear.linear.",
}
_IN_BLOCKS = {
    "expand.conv.": "mobile_inverted_conv.inverted_bottleneck.conv.conv.",
    "expand.norm.": "mobile_inverted_conv.inverted_bottleneck.bn.bn.",
    "depthwise.conv.": "mobile_inverted_conv.depth_conv.conv.conv.",
    "depthwise.norm.": "mobile_inverted_conv.depth_conv.bn.bn.",
    "squeeze_excite.": "mobile_inverted_conv.depth_conv.se.fc.",
    "project.conv.": "mobile_inverted_conv.point_linear.conv.conv.",
    "project.norm.": "mobile_inverted_conv.point_linear.bn.bn.",
    "shortcut.": "shortcut.conv.conv.",
    "attention.query.": "attn.q.linear.",
    "attention.key.": "attn.k.linear.",
    "attention.value.": "attn.v.linear.",
    "attention.value_conv.": "attn.vconv.",
    "attention.project.": "attn.proj.linear.",
    "attention.mix_logits.": "attn.proj_l.linear.",
    "attention.mix_weights.": "attn.proj_w.linear.",
    "attention.position_bias.table": "attn.relative_position_bias_table",
    "mlp1.widen.": "mlp1.linear1.linear.",
    "mlp1.narrow.": "mlp1.linear2.linear.",
    "mlp2.widen.": "mlp2.linear1.linear.",
    "mlp2.narrow.": "mlp2.linear2.linear.",
    "norms.attention.": "norm1.",
    "norms.mlp1.": "norm2.",
    "norms.mlp2.": "norm3.",
    "attention_scale.weight": "rescale_attn",
    "mlp_scale.weight": "rescale_mlp",
}
_SCALE_ROWS = 10  # in every stage, though a stage of depth d computes with rows up to d only
_UNUSED = (
    r".*\.bn_tracking\.\d+\.(running_mean|running_var|num_batches_tracked)",
    r".*\.mobile_inverted_conv\.rescale",
    r".*\.attn\.relative_position_index",
)


def release(source: str, space: str, title: str) -> Release:
    """Return the release of the supernet of a space in the catalog."""

    def build(classes: int) -> nn.Module:
        return Supernet(search_spaces.load(space), classes, stored_statistics=True)

    return Release(source, title, build, supernet_entries, _UNUSED, classifier="classifier.linear.linear")


def supernet_entries(network: nn.Module) -> Iterator[ReleasedTensor]:
    """List the tensors of a supernet by their released names."""
    assert isinstance(network, Supernet)
    for name, tensor in network.state_dict().items():
        released = released_name(network, name)
        if name.endswith("position_bias.table"):
            rows = (tensor.shape[0] * tensor.shape[1], tensor.shape[2])
            yield ReleasedTensor(released, name, rows, resize=resize_position_table)
        elif name.endswith("_scale.weight"):
            yield ReleasedTensor(released, name, (_SCALE_ROWS, *tensor.shape[1:]), rows=tensor.shape[0])
        else:
            yield ReleasedTensor(released, name, tuple(tensor.shape))


def released_name(network: Supernet, name: str) -> str:
    """Return the released name of a tensor of ours.

    Raises:
        ValueError: if the release has no such tensor.
    """
    found = re.fullmatch(r"stages\.(\d+)\.(\d+)\.(.*)", name)
    if found is None:
        return renamed(name, _OUTSIDE)
    stage, block, rest = int(found[1]), int(found[2]), found[3]
    before = sum(max(s.depth) for s in network.space.stages[:stage])
    return f"blocks.{before + block}.{renamed(rest, _IN_BLOCKS)}"


def resize_position_table(table: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """Resize a table of relative position biases to another window, bicubically, as the release's loader does.

    Args:
        table: ``((2 * side - 1) ** 2, heads)`` for some side.
        shape: shape of the table for the wanted side.

    Returns:
        The table of that shape, or None if the heads differ or there is no such side.
    """
    side, wanted = math.isqrt(table.shape[0]), math.isqrt(shape[0])
    if table.dim() != 2 or table.shape[1] != shape[1] or side * side != table.shape[0] or side % 2 == 0:
        return None
    grid = table.t().reshape(1, shape[1], side, side)
    wide = F.interpolate(grid.to(torch.float32), size=(wanted, wanted), mode="bicubic")
    return wide.reshape(shape[1], shape[0]).t().to(table.dtype)
