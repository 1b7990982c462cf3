"""Plain networks by name: a family at a width, a GhostNetV3, or a subnet of a search space."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from nasvit.branches.reparameterize import reparameterize
from nasvit.elastic.batch_norm import Switch
from nasvit.elastic.norms import shared_norm
from nasvit.models.catalog import mnasnet, mobilenet_v1, mobilenet_v2, resnet, shufflenet_v1, shufflenet_v2
from nasvit.models.family import Family
from nasvit.models.ghostnet_v3 import GhostOptions, ghostnet_v3
from nasvit.models.tiny import SMALL_IMAGES, TARGETS, target
from nasvit.supernets.augment import Target
from nasvit.supernets.planned import PlannedNetwork
from nasvit.supernets.shared_network import independent
from nasvit.supernets.supernet import build
from search_spaces import Architecture, Space, load

GHOST = "ghostnet_v3"
FAMILIES: dict[str, Callable[[], Family]] = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "mnasnet": mnasnet,
    "resnet18": lambda: resnet(18),
    "resnet34": lambda: resnet(34),
    "resnet50": lambda: resnet(50),
    "shufflenet_v1": shufflenet_v1,
    "shufflenet_v2": shufflenet_v2,
}
"""Families at any width."""

_NAME = re.compile(r"(?P<kind>[A-Za-z]\w*)(-(?P<width>\d+(\.\d+)?))?(?P<small>@32)?")


@dataclass(frozen=True)
class Branches:
    """Which branches convolutions train with; see :func:`nasvit.branches.reparameterize.reparameterize`.

    Args:
        count: convolutions side by side.
        scale: add a 1x1 branch to depthwise convolutions.
        identity: add the input to depthwise convolutions that keep the size.
    """

    count: int = 3
    scale: bool = True
    identity: bool = True


PLAIN = Branches(1, scale=False, identity=False)
"""No branches: what is deployed."""


def build_network(
    name: str, classes: int, *, branches: Branches = PLAIN, seed: int = 0, image_channels: int = 3
) -> nn.Module:
    """Return a freshly initialized plain network whose batch norms keep statistics.

    Args:
        name: ``FAMILY[-WIDTH]`` such as ``mcunet``, ``mobilenet_v2-0.5`` or ``ghostnet_v3-1.0``, with ``@32`` for its
            form for 32x32 images; or a search result as ``SPACE:ARCHITECTURE.json``, where the file may be left out if
            the space holds one architecture only.
        classes: number of classes.
        branches: branches of its 1x1 and depthwise convolutions.
        seed: decides the initial weights.
        image_channels: channels of the images; a space brings its own.

    Raises:
        ValueError: if there is no such network.
    """
    parsed = _NAME.fullmatch(name)
    if parsed is not None and parsed["kind"] == GHOST:
        return _ghost(parsed, classes, branches, seed, image_channels)
    found = parsed is not None and parsed["kind"] in FAMILIES and _scaled(parsed, classes, seed, image_channels)
    network = found or _of_target(network_target(name), classes, seed, image_channels)
    if branches == PLAIN:
        return network
    return reparameterize(network, branches.count, scale=branches.scale, identity=branches.identity, seed=seed)


def network_target(name: str) -> Target:
    """Return what NetAug augments for a network of that name.

    Raises:
        ValueError: if it cannot be augmented, or there is none of that name.
    """
    parsed = _NAME.fullmatch(name)
    kind = name if parsed is None else parsed["kind"]
    if kind in FAMILIES and parsed is not None and parsed["width"] is None:
        family = FAMILIES[kind]()
        return family.for_small_images() if parsed["small"] else family
    if kind in TARGETS:
        return target(name)
    if kind in FAMILIES or kind == GHOST:
        raise ValueError(
            f"network {name!r} cannot be augmented; legal are {', '.join(FAMILIES)} at width 1, {', '.join(TARGETS)} "
            "and SPACE:ARCHITECTURE.json"
        )
    found = search_result(name)
    assert found is not None
    return found


def search_result(name: str) -> tuple[Space, Architecture] | None:
    """Return space and architecture of a network of that name, or None if it is of another kind.

    Raises:
        ValueError: if there is no such network.
    """
    parsed = _NAME.fullmatch(name)
    if parsed is not None and parsed["kind"] in {*FAMILIES, *TARGETS, GHOST}:
        return None
    source, _, file = name.partition(":")
    try:
        space = load(source)
    except (ValueError, OSError) as error:
        legal = f"{', '.join((*TARGETS, *FAMILIES, GHOST))} (with -WIDTH and {SMALL_IMAGES}), SPACE:ARCHITECTURE.json"
        raise ValueError(f"network {name!r} is unknown ({error}); legal: {legal}") from error
    if not file and space.size > 1:
        raise ValueError(
            f"network {name!r}: the space holds {space.size} architectures; write {source}:ARCHITECTURE.json"
        )
    architecture = Architecture.load(Path(file)) if file else space.smallest
    space.check(architecture)
    return space, architecture


def _ghost(parsed: re.Match[str], classes: int, branches: Branches, seed: int, image_channels: int) -> nn.Module:
    return ghostnet_v3(
        float(parsed["width"] or 1),
        classes,
        options=GhostOptions(branches.count, branches.scale, branches.identity),
        seed=seed,
        image_channels=image_channels,
        small_images=parsed["small"] is not None,
    )


def _scaled(parsed: re.Match[str], classes: int, seed: int, image_channels: int) -> nn.Module:
    family = FAMILIES[parsed["kind"]]()
    family = family.for_small_images() if parsed["small"] else family
    return _of_family(family, float(parsed["width"] or 1), classes, seed, image_channels)


def _of_target(found: Target, classes: int, seed: int, image_channels: int) -> nn.Module:
    if isinstance(found, tuple):
        return build(*found, classes, seed=seed)
    assert isinstance(found, Family)
    return _of_family(found, 1.0, classes, seed, image_channels)


def _of_family(family: Family, width: float, classes: int, seed: int, image_channels: int) -> nn.Module:
    plan = family.plan(width)
    shared = PlannedNetwork(
        family, (plan,), classes, norm=shared_norm, head_norm=shared_norm, seed=seed, image_channels=image_channels
    )
    return independent(shared.network_at(plan, Switch(0, plan.key)))
