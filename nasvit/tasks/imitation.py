"""Imitation of a teacher's maps by a plain classifier, by projections that train along and are dropped afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasvit.backbones import Backbone, FeatureInfo, features
from nasvit.heads.head import Shown, at_least_float32
from nasvit.layers.network import Network, Resized
from nasvit.tasks.teacher import Teacher
from search_spaces.values import FieldError

STUDENT = "network."
"""What the names of a student's parameters begin with in what imitates."""

_FIELD = ["teacher", "features"]
_FAINT = 1e-12  # the square of a map of zeros, which nothing can be divided by


def relative_distance(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Return how far maps are from a teacher's: ``|s - t|^2 / |t|^2`` of every image and map, the mean over both.

    So 1 is the distance of a map of zeros, whatever the scale of a teacher's features is, and no map counts more than
    others for being larger. The teacher's are averaged to the size of the student's where they have another.

    Source: the hints of Romero et al., FitNets (2015), section 2, https://arxiv.org/abs/1412.6550, for several maps and
    with 1x1 convolutions; that they are divided by the size of the teacher's is this project's choice.

    Args:
        student: maps ``(batch, channels, height, width)``.
        teacher: the teacher's, with the same channels; no gradient flows to them.
    """
    distances = []
    for ours, theirs in zip(map(at_least_float32, student), map(at_least_float32, teacher), strict=True):
        wanted = theirs.detach()
        if wanted.shape[2:] != ours.shape[2:]:
            wanted = F.adaptive_avg_pool2d(wanted, (ours.shape[2], ours.shape[3]))
        size = wanted.square().flatten(1).sum(1).clamp(min=_FAINT)
        distances.append((ours - wanted).square().flatten(1).sum(1) / size)
    return torch.stack(distances).mean()


@dataclass(frozen=True)
class Imitated:
    """A teacher's maps, and how much they count.

    Args:
        teacher: gives images its own normalization and size.
        weight: weight of the distance of the student's maps from the teacher's.
        shape: shape ``(channels, height, width)`` of the student's images.
        strides: strides of the maps; None: all there are from 4 to 32.

    Raises:
        FieldError: if there are several teachers, or one without maps.
    """

    teacher: nn.Module
    weight: float
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.teacher, Teacher):
            raise FieldError(_FIELD, "are the maps of one teacher, at temperature 1; name one, or leave them out")
        _ = self.backbone

    @cached_property
    def backbone(self) -> Backbone:
        """The teacher up to the last map that is imitated, on its own weights."""
        teacher = self.teacher
        assert isinstance(teacher, Teacher)
        side = teacher.side
        shape = self.shape if side is None else (self.shape[0], side, side)
        return _features("teacher", teacher.network, self.strides, shape)

    @torch.no_grad()
    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the teacher's maps of the student's images; it runs for them once more, up to the last of them."""
        teacher = self.teacher
        assert isinstance(teacher, Teacher)
        images, network = teacher.own(images), teacher.network
        while isinstance(network, (Resized, Network)):  # a backbone takes images as they are
            images = images if network.resize is None else network.resize(images)
            if isinstance(network, Network):
                break
            network = network.network
        return tuple(self.backbone(images))


class Imitating(nn.Module):
    """A student that, while it trains, shows its maps beside its logits, projected to the channels of a teacher's.

    Args:
        network: the student, which is part of this and trains as such.
        imitated: the teacher's maps; those of the strides that both have are imitated.
        seed: seed of the projections.

    Shape:
        ``(batch, channels, height, width)`` -> in training a ``Shown``, in evaluation logits ``(batch, classes)``

    Raises:
        FieldError: if the two have no stride in common, or the student's maps are not the outputs of its modules.
    """

    def __init__(self, network: nn.Module, imitated: Imitated, *, seed: int = 0) -> None:
        super().__init__()
        ours = _features("student", network, None, imitated.shape).feature_info
        theirs = imitated.backbone.feature_info
        strides = [each for each in ours.reduction() if each in theirs.reduction()]
        if not strides:
            told = f"the student has maps of strides {ours.reduction()}, the teacher of {theirs.reduction()}"
            raise FieldError(_FIELD, f"{told}; leave them out, or take another teacher")
        self.network = network
        self.strides = tuple(strides)
        self.places = tuple(_module_of(network, _entry(ours, each)["module"]) for each in strides)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            channels = [(_entry(ours, each)["num_chs"], _entry(theirs, each)["num_chs"]) for each in strides]
            self.projections = nn.ModuleList(nn.Conv2d(own, taught, 1) for own, taught in channels)
        self._try(imitated.shape)

    def forward(self, images: Tensor) -> Tensor | Shown:
        if not self.training:
            logits: Tensor = self.network(images)
            return logits
        logits, maps = self._run(images)
        projected = tuple(project(each) for project, each in zip(self.projections, maps, strict=True))
        return Shown(logits, projected)

    def _run(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits and maps of one pass; hooks do not stay, because the moving average copies the network."""
        found: dict[str, Tensor] = {}

        def keep(place: str) -> torch.utils.hooks.RemovableHandle:
            module = self.network.get_submodule(place)
            return module.register_forward_hook(lambda _, __, output: found.__setitem__(place, output))

        handles = [keep(place) for place in self.places]
        try:
            return self.network(images), [found[place] for place in self.places]
        finally:
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def _try(self, shape: Sequence[int]) -> None:
        """Refuse what a module returns otherwise than as a map, such as tokens, so that it shows before training."""
        mode, like = self.network.training, next(self.network.parameters())
        _, maps = self.eval()._run(torch.zeros(2, *shape, dtype=like.dtype, device=like.device))
        self.train(mode)
        for place, project, each in zip(self.places, self.projections, maps, strict=True):
            if not isinstance(each, Tensor) or each.ndim != 4 or each.shape[1] != project.in_channels:
                raise FieldError(_FIELD, f"{place} of the student returns no map of its stage; leave them out")


def _features(whose: str, network: nn.Module, strides: Sequence[int] | None, shape: tuple[int, ...]) -> Backbone:
    try:
        return features(network, strides, shape)
    except ValueError as error:
        raise FieldError(_FIELD, f"the {whose} has no maps to compare: {error}") from error


def _entry(info: FeatureInfo, stride: int) -> dict[str, Any]:
    return info[info.reduction().index(stride)]


def _module_of(network: nn.Module, name: str) -> str:
    """Return the innermost module that ends with an operation, or the module of this name.

    Raises:
        FieldError: if the network's own code makes the map, outside of its modules.
    """
    modules, parts = dict(network.named_modules()), name.split(".")
    found = next(
        (".".join(parts[:count]) for count in range(len(parts), 0, -1) if ".".join(parts[:count]) in modules), ""
    )
    if not found:
        raise FieldError(_FIELD, f"the student's map {name} is not what one of its modules returns; leave them out")
    return found
