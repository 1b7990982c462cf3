"""Names of the tensors of the released NetAug networks, augmented ones and exported tiny ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from torch import nn

from nasvit.importing.releases import Release, ReleasedTensor
from nasvit.layers.network import Network
from nasvit.models.family import Family
from nasvit.models.tiny import TARGETS
from nasvit.specs import PlannedSpec
from nasvit.supernets.augmented_family import AugmentedNetwork

_LAYERS = {"expand": "inverted_conv", "depthwise": "depth_conv", "project": "point_conv"}


def release(source: str, title: str, family: Family, width: Sequence[float], expand: Sequence[float]) -> Release:
    """Return the release of an augmented network.

    Args:
        source: the name that users give.
        title: title of the release, for messages.
        family: the family of the tiny network.
        width: factors on widths.
        expand: factors on expand ratios.
    """

    def build(classes: int) -> nn.Module:
        return AugmentedNetwork(family, classes, width=width, expand=expand)

    return Release(source, title, build, entries, classifier=_outside(family, "head.classifier"))


def base_release(source: str, title: str, family: Family) -> Release:
    """Return the release of an exported tiny network.

    Args:
        source: the name that users give.
        title: title of the release, for messages.
        family: the family of the tiny network.
    """

    def build(classes: int) -> nn.Module:
        return AugmentedNetwork(family, classes, width=(1.0,), expand=(1.0,)).extract()

    def listed(network: nn.Module) -> Iterator[ReleasedTensor]:
        assert isinstance(network, Network)
        return _entries(family, network)

    spec = PlannedSpec(family, family.plan())
    return Release(source, title, build, listed, classifier=_outside(family, "head.classifier"), spec=spec)


def entries(network: nn.Module) -> Iterator[ReleasedTensor]:
    """List the tensors of an augmented network by their released names."""
    assert isinstance(network, AugmentedNetwork)
    return _entries(network.family, network)


def _entries(family: Family, network: nn.Module) -> Iterator[ReleasedTensor]:
    for name, tensor in network.state_dict().items():
        yield ReleasedTensor(released_name(family, name), name, tuple(tensor.shape))


def released_name(family: Family, name: str) -> str:
    """Return the released name of a tensor of ours.

    Raises:
        ValueError: if the release has no such tensor.
    """
    outside = re.fullmatch(r"(stem\.conv|head\.\w+)\.(.*)", name)
    if outside is not None:
        return f"{_outside(family, outside[1])}.{outside[2]}"
    found = re.fullmatch(r"stages\.(\d+)\.(\d+)\.(\w+)\.(.*)", name)
    if found is None:
        raise ValueError(f"no released name is known for {name!r}")
    block, layer, rest = f"{_block(family, int(found[1]), int(found[2]))}.conv", found[3], found[4]
    if layer == "squeeze_excite":
        return f"{block}.se_layer.{rest.replace('.', '_conv.', 1)}"
    return f"{block}.{_LAYERS[layer]}.{rest}"


def _block(family: Family, stage: int, place: int) -> str:
    if stage == 0:
        return "backbone.input_stem.op_list.1"
    if _has_last_block(family) and stage == len(family.stages) - 1:
        return "head.op_list.0"
    return f"backbone.stages.{stage - 1}.op_list.{place}"


def _has_last_block(family: Family) -> bool:
    """Return whether the last stage has one block, which the release counts to the head (all but MobileNetV3)."""
    return len(family.stages[-1]) == 1


def _outside(family: Family, unit: str) -> str:
    """Return the released name of the stem's or a head's layer; pooling takes a place in the release's list."""
    if unit == "stem.conv":
        return "backbone.input_stem.op_list.0"
    place = int(_has_last_block(family))
    if unit == "head.expand":
        return f"head.op_list.{place}"
    place += (family.head.channels is not None) + 1
    if unit == "head.mix":
        return f"head.op_list.{place}"
    place += family.head.mix is not None
    return f"head.op_list.{place}.linear"


_WIDTHS = {"mcunet": (1.0, 1.6, 2.2), "mbv3": (1.0, 2.0, 3.0)}


_WIDTH = (1.0, 1.8, 2.6)
_EXPAND = (1.0, 1.6, 2.2, 2.8)

RELEASES = (
    *(
        release(f"netaug_{name}", f"NetAug {name} (Cai et al., 2022)", target(), _WIDTHS.get(name, _WIDTH), _EXPAND)
        for name, target in TARGETS.items()
    ),
    *(
        base_release(f"tiny_{name}", f"{name} as exported by NetAug (Cai et al., 2022)", target())
        for name, target in TARGETS.items()
    ),
)
"""Augmented networks with the factors of the released scripts, and the tiny networks."""
