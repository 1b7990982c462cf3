"""Maps of any network at the strides that detectors and segmenters need.

backbone = nasvit.features(network, strides=(8, 16, 32))
backbone.feature_info.channels(), backbone.feature_info.reduction()
maps = backbone(images)      # one map a stride, the coarsest last
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from nasvit.any_network.shell import shell_of
from nasvit.backbones.backbone import Backbone, FeatureInfo
from nasvit.backbones.find import Found, find_maps, usual_shape
from nasvit.backbones.ways import Way, way_of
from nasvit.layers.network import Resized

__all__ = ["Backbone", "FeatureInfo", "features"]

FINEST, COARSEST = 4, 32


def features(
    network: nn.Module,
    strides: Sequence[int] | None = (8, 16, 32),
    shape: Sequence[int] | None = None,
    like: Backbone | None = None,
) -> Backbone:
    """Return a network without its end, as a backbone that answers with the last map of every stride: that of a stage.

    It has modules of its own, with their own mode and without layers behind the last map, around the very tensors of
    the network: training it trains the network, and the backbone of a live subnet trains its supernet. Move a network
    to its device before, because its statistics would stay behind. A network that resizes images no longer does.

    Args:
        network: a network of ours, live or extracted; of timm; or one that torch.fx can trace, as torchvision's.
        strides: pixels of the images for one of the map, ascending; None: all there are from 4 to 32.
        shape: shape ``(channels, height, width)`` of an image to find the maps with; None: what the network was made
            for where it says so, else 224x224 pixels. Afterwards it takes whatever sizes the network takes.
        like: a backbone of the widest of many networks, such as the subnets of a supernet. The maps are of its strides,
            from the same places, and get its channels by zeros at their end, so that one head fits all networks.

    Raises:
        ValueError: if there is no map of a stride, the network does not run with such images, or it cannot be traced.
    """
    inner = network
    while isinstance(inner, Resized):
        inner = inner.network
    way, shape = way_of(inner), tuple(shape or usual_shape(network))
    info = _found(inner, way, strides, shape) if like is None else _as_in(inner, way, shape, like.feature_info)
    shell = shell_of(inner, lambda name, tensor, module: tensor, {})
    modes = {id(module): module.training for module in shell.modules()}
    backbone = Backbone(way.cut(shell, info.module_name()), info, widen=like is not None)
    for module in backbone.modules():
        module.training = modes.get(id(module), inner.training)
    return backbone


def _found(network: nn.Module, way: Way, strides: Sequence[int] | None, shape: tuple[int, ...]) -> FeatureInfo:
    chosen = _chosen(find_maps(network, way, shape), strides, type(network).__name__)
    return FeatureInfo({"num_chs": each.channels, "reduction": each.stride, "module": each.name} for each in chosen)


def _as_in(network: nn.Module, way: Way, shape: tuple[int, ...], other: FeatureInfo) -> FeatureInfo:
    """Return what ``other`` says, of the same places in the network; running it to find them takes up to a second."""
    names = way.same_places(network, other.module_name())
    if names is None:
        names = _found(network, way, other.reduction(), shape).module_name()
    return FeatureInfo({**entry, "module": name} for entry, name in zip(other, names, strict=True))


def _chosen(found: Sequence[Found], strides: Sequence[int] | None, name: str) -> list[Found]:
    last = {each.stride: each for each in found}
    if strides is None:
        strides = sorted(stride for stride in last if FINEST <= stride <= COARSEST)
        if not strides:
            raise ValueError(f"there is no map of a stride from {FINEST} to {COARSEST}; {_has(name, last)}")
    if not strides or list(strides) != sorted(set(strides)):
        raise ValueError(f"strides={tuple(strides)}: give at least one, ascending; {_has(name, last)}")
    missing = [stride for stride in strides if stride not in last]
    if missing:
        raise ValueError(f"strides={tuple(strides)}: there is no map of {missing[0]}; {_has(name, last)}")
    return [last[stride] for stride in strides]


def _has(name: str, strides: Sequence[int] | dict[int, Found]) -> str:
    return f"{name} has maps of strides {', '.join(map(str, sorted(strides)))}"
