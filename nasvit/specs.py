"""Specs: values that describe a network without its weights, completely enough to build it again.

A spec goes into the card of a saved network as JSON, so that the network comes back without the files and names it was
made from. A new kind of network is one class here and its entry in :data:`KINDS`.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from nasvit import trust
from nasvit.heads.dense import DenseNetwork
from nasvit.heads.kinds import AnyHead, head_of
from nasvit.models.family import Family
from nasvit.models.fbnetv3 import DESIGNS, fbnetv3
from nasvit.models.ghostnet_v3 import GhostOptions, ghostnet_v3
from nasvit.models.plan import ChannelPlan
from nasvit.supernets.slimmable import NormKind, SlimmableNetwork, Width
from nasvit.supernets.supernet import build_subnet
from search_spaces import Architecture, ElasticArchitecture, Space
from search_spaces.reading import from_json_value
from search_spaces.values import shown

if TYPE_CHECKING:
    from nasvit.any_network.plan import Plan
    from nasvit.any_network.widths import AnyWidth, SlimmableModel
    from nasvit.dense.shared import DenseSlimmable
    from nasvit.supernets.widths import Slimmable


class Spec(ABC):
    """Description of one network; specs are frozen dataclasses of plain values."""

    kind: ClassVar[str]
    """The name of this kind in cards."""

    @abstractmethod
    def build(self, classes: int, *, seed: int = 0) -> nn.Module:
        """Return the freshly initialized network.

        Args:
            classes: number of classes.
            seed: seed of the initial weights.
        """

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels of the images that the network takes."""

    @property
    @abstractmethod
    def side(self) -> int:
        """Side of the images that the network was designed for, in pixels."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images that the network was designed for, in pixels."""
        return self.side, self.side

    @property
    def task(self) -> str:
        """The task that the network is for."""
        return "classification"

    @property
    def resizes_to(self) -> int | None:
        """Side in pixels that the network itself brings every image to; None: it takes images as they are."""
        return None

    def to_json(self) -> dict[str, Any]:
        """Return the spec as plain JSON values."""
        content: dict[str, Any] = _plain(asdict(self))  # type: ignore[call-overload]
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str) -> Spec:
        """Read what :meth:`to_json` returned; ``where`` names the file in messages.

        Raises:
            ValueError: naming the file and the mistake.
        """
        return from_json_value(cls, content, where)


@dataclass(frozen=True)
class SubnetSpec(Spec):
    """A subnet of a search space, as a network of its own.

    Args:
        space: a space that holds the architecture.
        architecture: which subnet.
        resize: whether the network resizes images to its resolution.
    """

    kind = "subnet"
    space: Space
    architecture: Architecture
    resize: bool = True

    def build(self, classes: int, *, seed: int = 0) -> nn.Module:
        network = build_subnet(self.space, self.architecture, classes, seed=seed)
        if not self.resize:
            network.resize = None
        return network

    @property
    def channels(self) -> int:
        return self.space.image_channels

    @property
    def side(self) -> int:
        return self.architecture.resolution

    @property
    def resizes_to(self) -> int | None:
        return self.architecture.resolution if self.resize else None

    def to_json(self) -> dict[str, Any]:
        """Return the architecture and the smallest space that holds it, as plain JSON values."""
        needed = self.space if self.space.size == 1 else self.space.restrict(self.architecture)
        architecture = json.loads(self.architecture.to_json())
        return {"architecture": architecture, "resize": self.resize, "space": _plain(asdict(needed))}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str) -> SubnetSpec:
        space = from_json_value(Space, content["space"], where)
        return cls(space, Architecture.from_fields(content["architecture"]), bool(content["resize"]))


class _OfFamily(Spec):
    """What specs of networks of a family share."""

    family: Family
    image_channels: int

    @property
    def channels(self) -> int:
        return self.image_channels

    @property
    def side(self) -> int:
        return self.family.resolution


@dataclass(frozen=True)
class PlannedSpec(_OfFamily):
    """A convolutional network of a family, with any channel plan.

    Args:
        family: everything but the channels.
        plan: the channels of every layer whose width is a choice.
        image_channels: channels of the images.
    """

    kind = "planned"
    family: Family
    plan: ChannelPlan
    image_channels: int = 3

    def build(self, classes: int, *, seed: int = 0) -> nn.Module:
        network = SlimmableNetwork(
            self.family, (self.plan,), classes, norm="shared", seed=seed, image_channels=self.image_channels
        )
        return network.extract(self.plan)


class WidthsSpec(Spec):
    """What specs of networks share that run at several widths."""

    @abstractmethod
    def plain(self, width: Any) -> Spec:
        """Return the spec of one of the widths as a network by itself."""

    @abstractmethod
    def empty(self, classes: int) -> Slimmable[Any]:
        """Return a frozen network of these sizes, with room for the weights and statistics of every width.

        Args:
            classes: number of classes.
        """


@dataclass(frozen=True)
class SwitchableSpec(_OfFamily, WidthsSpec):
    """A slimmable network with all its widths; arguments as in :class:`nasvit.supernets.SlimmableNetwork`.

    Args:
        family: everything but the channels.
        widths: the switches.
        norm: batch norms of the blocks.
        head_norm: batch norm of the head.
        image_channels: channels of the images.
    """

    kind = "switchable"
    family: Family
    widths: tuple[Width, ...]
    norm: NormKind
    head_norm: NormKind
    image_channels: int = 3

    def build(self, classes: int, *, seed: int = 0) -> SlimmableNetwork:
        return SlimmableNetwork(
            self.family,
            self.widths,
            classes,
            norm=self.norm,
            head_norm=self.head_norm,
            seed=seed,
            image_channels=self.image_channels,
        )

    def plain(self, width: Width) -> PlannedSpec:
        plan = width if isinstance(width, ChannelPlan) else self.family.plan(width)
        return PlannedSpec(self.family, plan, self.image_channels)

    def empty(self, classes: int) -> SlimmableNetwork:
        """Return a frozen network of these sizes whose weights and statistics are all zero."""
        with torch.device("meta"):
            network = self.build(classes)
            network.requires_grad_(False)  # first of all, so that there never are gradients
            network.reset_statistics()
        network.to_empty(device="cpu")
        for tensor in network.state_dict().values():
            tensor.zero_()
        return network


@dataclass(frozen=True)
class GhostNetSpec(Spec):
    """A GhostNetV3.

    Args:
        width: width multiplier.
        image_channels: channels of the images.
        small_images: for 32x32 images.
        options: branches and attention; a network without branches if left out.
    """

    kind = "ghostnet_v3"
    width: float = 1.0
    image_channels: int = 3
    small_images: bool = False
    options: GhostOptions = GhostOptions(1, scale=False, identity=False)

    def build(self, classes: int, *, seed: int = 0) -> nn.Module:
        return ghostnet_v3(
            self.width,
            classes,
            options=self.options,
            seed=seed,
            image_channels=self.image_channels,
            small_images=self.small_images,
        )

    def branched(self, count: int, *, scale: bool, identity: bool) -> GhostNetSpec:
        """Return the same network with branches for training, in the places that the paper gives them."""
        return replace(self, options=GhostOptions(count, scale, identity, self.options.attention))

    @property
    def channels(self) -> int:
        return self.image_channels

    @property
    def side(self) -> int:
        return 32 if self.small_images else 224


@dataclass(frozen=True)
class FBNetV3Spec(Spec):
    """A FBNetV3.

    Args:
        design: letter of the design, one of :data:`nasvit.models.fbnetv3.DESIGNS`.
        half_kernel_padding: pad as timm does, not as released.
        stem_bias: whether the stem's convolution has a bias.
    """

    kind = "fbnetv3"
    design: str
    half_kernel_padding: bool = False
    stem_bias: bool = True

    def build(self, classes: int, *, seed: int = 0) -> nn.Module:
        return fbnetv3(
            self.design, classes, seed=seed, half_kernel_padding=self.half_kernel_padding, stem_bias=self.stem_bias
        )

    @property
    def channels(self) -> int:
        return 3

    @property
    def side(self) -> int:
        return DESIGNS[self.design].resolution


class _Foreign(Spec):
    """What specs of networks share that are not made here: a seed for code that draws weights as it likes."""

    image_channels: int
    image_side: int

    def build(self, classes: int, *, seed: int = 0) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self._make(classes)

    @abstractmethod
    def _make(self, classes: int) -> nn.Module:
        """Return the network, its weights drawn from PyTorch's generator."""

    @property
    def channels(self) -> int:
        return self.image_channels

    @property
    def side(self) -> int:
        return self.image_side


@dataclass(frozen=True)
class TimmSpec(_Foreign):
    """A network of timm.

    Args:
        model: name in timm.
        image_channels: channels of the images.
        image_side: side of the images that timm trained it with, in pixels.
        built_for: side of the images that it is built for, where its tables of positions depend on it; None: timm's.
    """

    kind = "timm"
    model: str
    image_channels: int = 3
    image_side: int = 224
    built_for: int | None = None

    def _make(self, classes: int) -> nn.Module:
        import timm

        if not timm.is_model(self.model):  # timm would look for others on the hub
            raise ValueError(f"timm has no model {self.model!r}")
        sized: dict[str, Any] = {} if self.built_for is None else {"img_size": self.built_for}
        network: nn.Module = timm.create_model(self.model, num_classes=classes, in_chans=self.image_channels, **sized)
        return network


@dataclass(frozen=True)
class TorchvisionSpec(_Foreign):
    """A classifier of torchvision.

    Args:
        model: name in torchvision.
    """

    kind = "torchvision"
    model: str

    def _make(self, classes: int) -> nn.Module:
        from torchvision import models

        if self.model not in models.list_models(module=models):  # others may download their backbone
            raise ValueError(f"torchvision has no classifier {self.model!r}")
        network: nn.Module = models.get_model(self.model, weights=None, num_classes=classes)
        return network

    @property
    def channels(self) -> int:
        return 3

    @property
    def side(self) -> int:
        return 299 if self.model == "inception_v3" else 224


def imported(function: str) -> Any:
    """Import a function ``package.module:function``; None: its module has none of that name."""
    module, _, name = function.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as python -m does: modules of the folder that one works in count
    return getattr(importlib.import_module(module), name, None)


@dataclass(frozen=True)
class CodeSpec(_Foreign):
    """A network that a function of the user's own code returns.

    It is imported and called only if the user of this process named it; see :mod:`nasvit.trust`.

    Args:
        function: ``package.module:function``; it is called with ``num_classes``.
        image_channels: channels of the images.
        image_side: side of the images that it is for, in pixels.
    """

    kind = "code"
    function: str
    image_channels: int = 3
    image_side: int = 224

    def _make(self, classes: int) -> nn.Module:
        if not trust.trusts(self.function):
            raise ValueError(
                f"this network is built by {self.function}, a function of its author's code that a file names and "
                "nobody here asked for, so it is not started; if you know it, say so: nasvit --trust ..., in Python "
                "load_saved(..., trust=True)"
            )
        try:
            network = imported(self.function)(num_classes=classes)
        except Exception as error:  # whatever the code of users raises
            raise ValueError(
                f"{self.function}(num_classes={classes}) fails: {type(error).__name__}: {error}; it must return the "
                "network for so many classes"
            ) from error
        if not isinstance(network, nn.Module):
            raise ValueError(f"{self.function} returned {network!r}, and a torch.nn.Module is needed")
        return network


@dataclass(frozen=True)
class ElasticSpec(Spec):
    """A subnet of a network that was made elastic, as a network of its own.

    Args:
        base: the network.
        architecture: sizes of the subnet.
        image_side: side of the images that the network was made elastic with, in pixels.
        resize: whether the subnet resizes images to its resolution.
    """

    kind = "elastic"
    base: Spec
    architecture: ElasticArchitecture
    image_side: int
    resize: bool = True

    def build(self, classes: int, *, seed: int = 0) -> nn.Module:
        from nasvit.any_network import cut_out

        network = self.base.build(classes, seed=seed)
        return cut_out(network, self.plan(classes), self.architecture, resize=self.resizes_to is not None)

    def plan(self, classes: int) -> Plan:
        """Return what can be decided in the network; found once in a process."""
        return elastic_plan(self.base, classes, self.image_side)

    @property
    def channels(self) -> int:
        return self.base.channels

    @property
    def side(self) -> int:
        return self.architecture.resolution

    @property
    def resizes_to(self) -> int | None:
        return self.architecture.resolution if self.resize else None

    def to_json(self) -> dict[str, Any]:
        """Return base and architecture as plain JSON values."""
        return {
            "base": {"kind": self.base.kind, "spec": self.base.to_json()},
            "architecture": json.loads(self.architecture.to_json()),
            "image_side": self.image_side,
            "resize": self.resize,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str) -> ElasticSpec:
        base = spec_from_json(content["base"]["kind"], content["base"]["spec"], where)
        architecture = ElasticArchitecture.from_fields(content["architecture"])
        return cls(base, architecture, int(content["image_side"]), bool(content["resize"]))


@dataclass(frozen=True)
class SlimmableSpec(WidthsSpec):
    """Any network with several widths; see :class:`nasvit.any_network.widths.SlimmableModel`.

    Args:
        base: the network.
        widths: the switches.
        sizes: the sizes at each switch, so that no later rule changes them.
        norm: batch norms.
        image_side: side of the images that it is for, in pixels.
    """

    kind = "slimmable"
    base: Spec
    widths: tuple[AnyWidth, ...]
    sizes: tuple[ElasticArchitecture, ...]
    norm: NormKind
    image_side: int

    def build(self, classes: int, *, seed: int = 0) -> SlimmableModel:
        from nasvit.any_network.widths import SlimmableModel

        plan = elastic_plan(self.base, classes, self.image_side)
        image = (self.channels, self.image_side, self.image_side)
        network = self.base.build(classes, seed=seed)
        return SlimmableModel(network, plan, image, self.widths, norm=self.norm, sizes=self.sizes)

    def plain(self, width: AnyWidth) -> ElasticSpec:
        return ElasticSpec(self.base, self.sizes[self.widths.index(width)], self.image_side, resize=False)

    def empty(self, classes: int) -> SlimmableModel:
        network = self.build(classes)
        network.requires_grad_(False)
        network.reset_statistics()
        return network

    @property
    def channels(self) -> int:
        return self.base.channels

    @property
    def side(self) -> int:
        return self.image_side

    def to_json(self) -> dict[str, Any]:
        """Return base, widths and the sizes at each as plain JSON values."""
        shares = [None if isinstance(each, ElasticArchitecture) else each for each in self.widths]
        return {
            "base": {"kind": self.base.kind, "spec": self.base.to_json()},
            "widths": shares,
            "sizes": [json.loads(each.to_json()) for each in self.sizes],
            "norm": self.norm,
            "image_side": self.image_side,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str) -> SlimmableSpec:
        base = spec_from_json(content["base"]["kind"], content["base"]["spec"], where)
        sizes = tuple(map(ElasticArchitecture.from_fields, content["sizes"]))
        widths = (each if share is None else share for share, each in zip(content["widths"], sizes, strict=True))
        return cls(base, tuple(widths), sizes, content["norm"], int(content["image_side"]))


@functools.lru_cache(maxsize=8)
def elastic_plan(base: Spec, classes: int, side: int) -> Plan:
    """Return what can be decided in a network; found once in a process.

    Args:
        base: the network.
        classes: number of classes.
        side: side of its images in pixels.
    """
    from nasvit.any_network.plan import plan_of

    return plan_of(base.build(classes), torch.empty(base.channels, side, side, device="meta"))


@dataclass(frozen=True)
class _HeadField:
    """The head as a field of its own, which names its kind."""

    head: AnyHead


def head_from_json(content: Mapping[str, Any], where: str) -> AnyHead:
    """Read the head of a card, or of the record of an experiment, which may leave the usual one of its task out.

    Raises:
        ValueError: if it is none, or there is no such head; ``where`` names the file.
    """
    told, task = content.get("head"), content.get("task", "classification")
    given = None if told is None else from_json_value(_HeadField, {"head": told}, where).head
    head = head_of(given.task if given is not None else task, given)
    if head is None:
        raise ValueError(f"{where} is of no detector or segmenter")
    return head


class _WithHead(Spec):
    """What specs of networks with the head of a detector or segmenter share."""

    base: Spec
    head: AnyHead
    size: tuple[int, int]

    @property
    def task(self) -> str:
        return self.head.task

    @property
    def channels(self) -> int:
        return self.base.channels

    @property
    def side(self) -> int:
        return max(self.size)

    @property
    def image_size(self) -> tuple[int, int]:
        return self.size

    def to_json(self) -> dict[str, Any]:
        """Return base, head and size as plain JSON values."""
        base = {"kind": self.base.kind, "spec": self.base.to_json()}
        return {"base": base, "head": _plain(asdict(self.head)), "size": list(self.size)}


@dataclass(frozen=True)
class DenseSpec(_WithHead):
    """A network with the head of a detector or segmenter.

    Args:
        base: the network whose maps the head takes.
        head: the head.
        size: height and width of the images that it was trained on; it takes others, too.
    """

    kind = "dense"
    base: Spec
    head: AnyHead
    size: tuple[int, int]

    def build(self, classes: int, *, seed: int = 0) -> DenseNetwork:
        return self.around(self.base.build(1, seed=seed), classes, seed=seed)

    def around(self, network: nn.Module, classes: int, *, seed: int = 0) -> DenseNetwork:
        """Return the network with the head on its maps; it keeps its weights.

        Args:
            network: a network of the base, or one like it, such as a subnet of shared weights.
            classes: number of classes.
            seed: seed of the head's initial weights.

        Raises:
            ValueError: if it has no maps of the head's strides.
        """
        from nasvit.backbones import features

        backbone = features(network, strides=self.head.strides, shape=(self.base.channels, *self.size))
        return DenseNetwork(backbone, self.head.build(backbone.feature_info.channels(), classes, seed=seed))

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str) -> DenseSpec:
        return cls(*_dense_of_json(content, where))


@dataclass(frozen=True)
class DenseWidthsSpec(_WithHead, WidthsSpec):
    """A slimmable network with all its widths and the head of a detector or segmenter.

    Args:
        base: the slimmable network whose maps the head takes.
        head: the head.
        size: height and width of the images that it was trained on.
    """

    kind = "dense_widths"
    base: SwitchableSpec
    head: AnyHead
    size: tuple[int, int]

    def build(self, classes: int, *, seed: int = 0) -> DenseSlimmable:
        return self.around(self.base.build(1, seed=seed), classes, seed)

    def plain(self, width: Width) -> DenseSpec:
        return DenseSpec(self.base.plain(width), self.head, self.size)

    def empty(self, classes: int) -> DenseSlimmable:
        """Return a frozen network of these sizes with room for the weights and statistics of every width."""
        network = self.around(self.base.empty(1), classes)
        network.requires_grad_(False)
        return network

    def around(self, backbones: SlimmableNetwork, classes: int, seed: int = 0) -> DenseSlimmable:
        """Return slimmable backbones with the head; they become a part of it.

        Args:
            backbones: the slimmable network.
            classes: number of classes.
            seed: seed of the head's initial weights.
        """
        from nasvit.dense.shared import DenseSlimmable

        return DenseSlimmable(backbones, self.head, (self.base.channels, *self.size), classes, seed=seed)

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str) -> DenseWidthsSpec:
        base, head, size = _dense_of_json(content, where)
        assert isinstance(base, SwitchableSpec)
        return cls(base, head, size)


def _dense_of_json(content: Mapping[str, Any], where: str) -> tuple[Spec, AnyHead, tuple[int, int]]:
    base = spec_from_json(content["base"]["kind"], content["base"]["spec"], where)
    height, width = content["size"]
    return base, head_from_json(content, where), (height, width)


KINDS: dict[str, type[Spec]] = {
    each.kind: each
    for each in (
        SubnetSpec,
        PlannedSpec,
        SwitchableSpec,
        GhostNetSpec,
        FBNetV3Spec,
        TimmSpec,
        TorchvisionSpec,
        CodeSpec,
        ElasticSpec,
        SlimmableSpec,
        DenseSpec,
        DenseWidthsSpec,
    )
}
"""All kinds of specs by their name in cards."""


def specs_below(spec: Spec) -> Iterator[Spec]:
    """Yield a spec, the one that it is based on, and so on."""
    below: Any = spec
    while isinstance(below, Spec):
        yield below
        below = getattr(below, "base", None)


def functions_of(spec: Spec) -> list[str]:
    """Return the functions of users' code that a network is built by."""
    return [each.function for each in specs_below(spec) if isinstance(each, CodeSpec)]


def spec_from_json(kind: str, content: Mapping[str, Any], where: str) -> Spec:
    """Read a spec of a kind.

    Raises:
        ValueError: if there is no such kind, or the content does not fit it.
    """
    if kind not in KINDS:
        raise ValueError(f"{where}: a network of kind {shown(kind)} is not known here; known: {', '.join(KINDS)}")
    try:
        return KINDS[kind].from_json(content, where)
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:  # of what a card may hold
        told = str(error)
        if isinstance(error, ValueError) and told.startswith(where):
            raise
        raise ValueError(
            f"{where}: the spec of the {kind} network is damaged: {type(error).__name__} {told}"
        ) from error


def _plain(value: Any) -> Any:
    """Return tuples as lists, without entries that are empty or None, which are the defaults."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items() if entry is not None and entry != ()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
