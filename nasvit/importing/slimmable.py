"""Names of the tensors of the released slimmable, universally slimmable and AutoSlim networks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from torch import nn

from nasvit.importing.releases import Release, ReleasedTensor
from nasvit.models.catalog import mobilenet_v1, mobilenet_v2, resnet, shufflenet_v1
from nasvit.models.family import Family
from nasvit.models.parts import BlockSpec
from nasvit.models.plan import ChannelPlan
from nasvit.supernets.slimmable import NormKind, SlimmableNetwork, Width


def release(source: str, title: str, build: Callable[[int], SlimmableNetwork]) -> Release:
    """Return the release of a slimmable network.

    Args:
        source: the name that users give.
        title: title of the release, for messages.
        build: builds the network for a number of classes.
    """

    def with_statistics(classes: int) -> nn.Module:
        network = build(classes)
        network.reset_statistics()
        return network

    return Release(source, title, with_statistics, entries, classifier="classifier.0")


def entries(network: nn.Module) -> Iterator[ReleasedTensor]:
    """List the tensors of a slimmable network by their released names; a released one may fill several of ours."""
    assert isinstance(network, SlimmableNetwork)
    own_statistics = _keys_of_statistics(network)
    for name, tensor in network.state_dict().items():
        yield ReleasedTensor(released_name(network, name, own_statistics), name, tuple(tensor.shape))


def _keys_of_statistics(network: SlimmableNetwork) -> dict[str, int]:
    return {plan.key: number for number, plan in enumerate(network.plans)}


def released_name(network: SlimmableNetwork, name: str, switch_of: dict[str, int]) -> str:
    """Return the released name of a tensor of ours.

    Args:
        network: the network.
        name: name in its state dict.
        switch_of: number of the switch, by the key of its plan.

    Raises:
        ValueError: if the release has no such tensor.
    """
    found = re.fullmatch(r"(.*)\.(conv|norm|classifier)\.(.*)", name)
    if found is None:
        raise ValueError(f"no released name is known for {name!r}")
    unit, layer, rest = found.groups()
    if layer == "classifier":
        return f"classifier.0.{rest}"
    convolution = _convolution(network.family, unit)
    if layer == "conv":
        return f"{convolution}.{rest}"
    before, _, place = convolution.rpartition(".")
    norm = f"{before}.{int(place) + 1}"
    rest = re.sub(r"^switches\.", "bn.", rest)
    statistics = re.fullmatch(r"statistics\.(\w+)\.(.*)", rest)
    if statistics is None:
        return f"{norm}.{rest}"
    in_tail = unit.startswith("head.") and network.family.head.fixed  # one plain batch norm for all widths
    return f"{norm}.{statistics[2]}" if in_tail else f"{norm}.bn.{switch_of[statistics[1]]}.{statistics[2]}"


def _convolution(family: Family, unit: str) -> str:
    """Return the released name of the convolution of one of our units."""
    grouped = family.stem.groups > 1
    first = 0 if grouped else 1
    if unit.startswith("stem."):
        group = re.search(r"groups\.(\d+)$", unit)
        return f"head_{group[1]}.0" if group else "features.0.0"
    if unit.startswith("head."):
        return f"features.{first + len(list(family.blocks()))}.0"
    found = re.fullmatch(r"stages\.(\d+)\.(\d+)\.(.*)", unit)
    if found is None:
        raise ValueError(f"no released name is known for {unit!r}")
    stage, place, layer = int(found[1]), int(found[2]), found[3]
    number = first + sum(len(blocks) for blocks in family.stages[:stage]) + place
    return f"features.{number}.{_in_block(family.stages[stage][place], layer)}"


def _in_block(block: BlockSpec, layer: str) -> str:
    if block.kind == "shuffle":
        part, _, group = layer.partition(".groups.")
        return "b.1" if part == "depthwise" else f"{'a' if part == 'squeeze' else 'c'}_{group}.0"
    if block.kind == "inverted":
        order = ("expand", "depthwise", "project") if block.widens else ("depthwise", "project")
        return f"body.{3 * order.index(layer)}"
    return "shortcut.0" if layer == "shortcut" else f"body.{3 * int(layer.removeprefix('body.'))}"


def _published(
    source: str, title: str, family: Family, widths: Sequence[Width], norm: NormKind = "switchable"
) -> Release:
    return release(source, title, lambda classes: SlimmableNetwork(family, widths, classes, norm=norm))


_QUARTERS = (0.25, 0.5, 0.75, 1.0)

RELEASES = (
    _published("s_mobilenet_v1", "slimmable MobileNet v1 (Yu et al., 2019)", mobilenet_v1(), _QUARTERS),
    _published("s_mobilenet_v2", "slimmable MobileNet v2 (Yu et al., 2019)", mobilenet_v2(), (0.35, 0.5, 0.75, 1.0)),
    _published("s_resnet50", "slimmable ResNet-50 (Yu et al., 2019)", resnet(50), _QUARTERS),
    _published("s_shufflenet", "slimmable ShuffleNet v1 (Yu et al., 2019)", shufflenet_v1(), (0.5, 1.0, 2.0)),
    _published(
        "us_mobilenet_v1",
        "universally slimmable MobileNet v1 (Yu and Huang, 2019)",
        mobilenet_v1(),
        tuple(round(0.25 + 0.025 * step, 3) for step in range(31)),
        "universal",
    ),
    _published(
        "us_mobilenet_v2",
        "universally slimmable MobileNet v2 (Yu and Huang, 2019)",
        mobilenet_v2(),
        tuple(round(0.35 + 0.025 * step, 3) for step in range(27)),
        "universal",
    ),
)
"""Released networks with the widths of their configurations."""


def released_plan(family: Family, numbers: Sequence[int]) -> ChannelPlan:
    """Read a channel list of a released AutoSlim configuration.

    It repeats the channels out at the beginning of every stage of a ResNet, and ends with the number of classes.

    Args:
        family: the family that the list is for.
        numbers: the channel list.

    Raises:
        ValueError: if its length is not right, or a repeated number differs.
    """
    residual = any(block.kind == "bottleneck" for block in family.blocks())
    stages = [len(stage) for stage in family.stages] if residual else []
    rest = list(numbers)
    chosen = rest[:1]
    del rest[:1]
    for count in stages:
        repeated, decided = rest[0], rest[1 : 1 + 3 * count]
        if repeated != decided[2]:
            raise ValueError(f"{family.name}: a stage of {decided[2]} channels out starts with {repeated}")
        chosen += decided
        del rest[: 1 + 3 * count]
    expected = len(family.decisions())
    chosen += rest[: expected - len(chosen)]
    listed = expected + len(stages)
    if len(chosen) != expected or len(numbers) not in (listed, listed + 1):
        raise ValueError(f"{family.name}: the channel list has {len(numbers)} entries; legal: {listed + 1}")
    return ChannelPlan(tuple(chosen))
