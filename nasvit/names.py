"""Names of networks without weights: the spec of a name, without building the network."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from nasvit import trust
from nasvit.models import Family, mnasnet, mobilenet_v1, mobilenet_v2, resnet, shufflenet_v1, shufflenet_v2
from nasvit.models.tiny import SMALL_IMAGES, TARGETS, target
from nasvit.specs import (
    CodeSpec,
    FBNetV3Spec,
    GhostNetSpec,
    PlannedSpec,
    Spec,
    SubnetSpec,
    TimmSpec,
    TorchvisionSpec,
    imported,
)
from search_spaces import Architecture, Space, load, published
from search_spaces import names as space_names
from search_spaces.files import read_json

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
"""Families of any width, by name."""

TIMM, TORCHVISION, HUB = "timm:", "torchvision:", "hf:"
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_NAME = re.compile(r"(?P<kind>[A-Za-z]\w*)(-(?P<width>\d+(\.\d+)?))?(?P<small>@32)?")


def spec_of_name(name: str, *, image_channels: int = 3) -> Spec:
    """Return the spec of a name without weights.

    Args:
        name: see the table of :mod:`nasvit.registry`.
        image_channels: channels of the images, for families and timm; other names fix them.

    Raises:
        ValueError: if there is no such network.
    """
    if name.startswith(TIMM):
        return timm_spec(name.removeprefix(TIMM).partition(":")[0], image_channels)
    if name.startswith(TORCHVISION):
        return torchvision_spec(name.removeprefix(TORCHVISION))
    if is_function(name):
        return code_spec(name, image_channels)
    parsed = _NAME.fullmatch(name)
    if parsed is not None:
        if parsed["kind"] == GHOST:
            return GhostNetSpec(float(parsed["width"] or 1), image_channels, parsed["small"] is not None)
        if parsed["kind"] in FAMILIES:
            family = FAMILIES[parsed["kind"]]()
            family = family.for_small_images() if parsed["small"] else family
            return PlannedSpec(family, family.plan(float(parsed["width"] or 1)), image_channels)
        if parsed["kind"] in TARGETS:
            family = target(name)
            return PlannedSpec(family, family.plan(), image_channels)
        if name in published.names():
            return _published(name)
    return _subnet(name)


def is_function(name: str) -> bool:
    """Return whether a name is that of a function of the user's own code, ``package.module:function``."""
    is_built_in = name.startswith((TIMM, TORCHVISION, HUB, *(f"{space}:" for space in space_names())))
    return _FUNCTION.fullmatch(name) is not None and not is_built_in


def architecture_of(space: Space, which: str) -> Architecture:
    """Return an architecture of a space by its name.

    Args:
        space: the search space.
        which: ``smallest``, ``largest``, the file of an architecture, or a published subnet.

    Raises:
        ValueError: if there is no such architecture, or the space does not hold it.
    """
    ends = {"smallest": space.smallest, "largest": space.largest}
    if which in ends:
        return ends[which]
    if which in published.names():
        architecture = published.load(which).architecture
        space.check(architecture)
        return architecture
    if not Path(which).is_file():
        raise ValueError(
            f"there is no file {which!r}; legal: smallest, largest, an architecture's JSON file, a published network, "
            "the folder of a saved subnet"
        )
    return space.architecture(read_json(which))


def _subnet(name: str) -> SubnetSpec:
    source, _, which = name.partition(":")
    try:
        space = load(source)
    except (ValueError, OSError) as error:
        legal = f"{', '.join((*TARGETS, *FAMILIES, GHOST))} (with -WIDTH and {SMALL_IMAGES})"
        raise ValueError(
            f"network {name!r} is unknown ({error}); legal: {legal}, SPACE:smallest|largest|ARCHITECTURE.json with a "
            f"space of {', '.join(space_names())}, a published network such as alphanet_a0, timm:MODEL, "
            "torchvision:MODEL, package.module:function, the folder of a saved network, hf:USER/NAME, a file that "
            "nasvit import wrote"
        ) from error
    if not which and space.size > 1:
        raise ValueError(
            f"network {name!r}: the space holds {space.size} architectures; write {source}:smallest, {source}:largest "
            f"or {source}:ARCHITECTURE.json"
        )
    return SubnetSpec(space, architecture_of(space, which) if which else space.smallest)


def _published(name: str) -> Spec:
    entry = published.load(name)
    if entry.network is not None:
        return FBNetV3Spec(entry.network.removeprefix("fbnetv3_"))
    assert entry.space is not None, "a published network is a subnet or a plain network"
    return SubnetSpec(load(entry.space), entry.architecture)


def timm_spec(model: str, image_channels: int) -> TimmSpec:
    """Return the spec of a network of timm.

    Raises:
        ValueError: if timm has no such model.
    """
    import timm

    if not timm.is_model(model):
        near = ", ".join(timm.list_models(f"*{model.partition('_')[0]}*")[:5])
        hint = f"it has {near}" if near else "timm.list_models() lists them all"
        raise ValueError(f"timm has no model {model!r}; {hint}")
    return TimmSpec(model, image_channels)


def torchvision_spec(model: str) -> TorchvisionSpec:
    """Return the spec of a classifier of torchvision.

    Raises:
        ValueError: if torchvision has no such model.
    """
    from torchvision import models

    if model not in models.list_models(module=models):
        near = ", ".join(models.list_models(module=models, include=f"*{model.partition('_')[0]}*")[:5])
        hint = f"it has {near}" if near else "torchvision.models.list_models() lists them all"
        raise ValueError(f"torchvision has no classifier {model!r}; {hint}")
    return TorchvisionSpec(model)


def code_spec(name: str, image_channels: int) -> CodeSpec:
    """Return the spec of a network that a function of the user's own code returns, which may be called from now on.

    Raises:
        ValueError: if there is no such module or function.
    """
    trust.name([name])
    module, _, function = name.partition(":")
    try:
        found = imported(name)
    except ImportError as error:
        raise ValueError(f"network {name!r}: the module {module} cannot be imported ({error})") from error
    if not callable(found):
        raise ValueError(f"network {name!r}: the module {module} has no function {function}")
    return CodeSpec(name, image_channels)
