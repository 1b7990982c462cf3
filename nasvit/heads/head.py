"""Interface of heads: their description as a value, and the module that it builds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from nasvit.data.annotated import TaskName
from nasvit.layers.calibration import track_statistics
from search_spaces.ranges import Checked, Range

Size = tuple[int, int]
"""Height and width of an image, in pixels."""

HeadChannels = Annotated[int, Range(8, 4096, multiple=8)]

Learned = tuple[Tensor, ...]
"""What a network learns from a batch: tensors with a row for every image."""


class Shown(NamedTuple):
    """What a head says of a batch while it trains, and the maps that it says it of.

    Args:
        outputs: what the loss takes.
        maps: the maps of :attr:`Head.shown`, ``(batch, channels, height, width)`` each.
    """

    outputs: Tensor
    maps: tuple[Tensor, ...]

    def detach(self) -> Tensor:
        """Return the outputs alone, without gradient: what other subnets of a step learn from."""
        return self.outputs.detach()


class HeadModule(nn.Module):
    """The layers of a head.

    While it trains it returns one tensor, which the loss takes; in evaluation what a user wants to know.
    """

    head: Any
    """The description that it was built from."""

    shows_maps: bool = False
    """Whether it returns a :class:`Shown` instead of one tensor while it trains, so that its maps can be compared."""

    def said(self, outputs: Tensor, maps: Sequence[Tensor]) -> Any:
        """Return the outputs, and the maps beside them where these are shown."""
        return Shown(outputs, tuple(maps)) if self.training and self.shows_maps else outputs

    def reads(self) -> Mapping[str, int]:
        """Return the weights that read a map of the backbone, along their axis 1: their name -> number of the map.

        They are all that depends on the backbone's channels, so that narrow backbones use the first channels of them.
        Empty: the whole head depends on these, and is for one backbone only.
        """
        return {}

    def forward(self, maps: Sequence[Tensor], size: Size) -> Any:
        """Return what the head makes of a batch.

        Args:
            maps: maps of the backbone ``(batch, channels, height / stride, width / stride)``, finest first.
            size: of the images.
        """
        raise NotImplementedError


class Head(Checked, ABC):
    """Description of a head; heads are frozen dataclasses of plain values, written by their ``kind`` in files."""

    task: ClassVar[TaskName]
    """The task that it is for."""

    kind: str
    strides: tuple[int, ...]

    @property
    def comparable(self) -> tuple[Any, ...]:
        """What must be equal of two heads whose outputs, place by place, can be compared."""
        return (self.task,)

    @property
    def shown(self) -> tuple[tuple[int, ...], int] | None:
        """Strides and channels of the maps that two networks with this head have alike, whatever their backbones.

        Heads end in these: a pyramid's result, or what a convolution makes of the last map. A teacher's are imitated
        there. None: the head reads the backbone's maps as they are.
        """
        return None

    def least_images(self, size: Size) -> int:
        """Return how many images of a size must run together in training, for batch norms to have several values."""
        return 1

    @abstractmethod
    def module(self, channels: Sequence[int], classes: int) -> HeadModule:
        """Return the layers, freshly initialized from PyTorch's generator.

        Args:
            channels: channels of the backbone's map of every stride.
            classes: number of classes, without a background.
        """

    @abstractmethod
    def learned(self, targets: Any, size: Size, classes: int) -> Learned:
        """Return what outputs for a batch are compared with: it follows from targets alone, so once for all subnets.

        Args:
            targets: targets of the batch, as the loader gives them.
            size: of the images.
            classes: number of classes.

        Returns:
            Tensors with a row for every image; the last one is the number of examples in each image, float32
            ``(batch,)``, whose mean over all images the losses are divided by.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, learned: Learned, size: Size) -> Tensor:
        """Return the loss of a batch, divided by the number of its images and by examples an image.

        Args:
            outputs: what the module returned for the batch while it trained.
            learned: what :meth:`learned` returned, its last tensor replaced by examples an image, ``(batch,)``.
            size: of the images.
        """

    def imitation(self, outputs: Tensor, taught: Tensor) -> Tensor:
        """Return the mean loss over images of what a student says beside a teacher, both while they train.

        Args:
            outputs: what the student's module returned.
            taught: what the teacher's returned for the same images; no gradient flows to it.
        """
        raise NotImplementedError

    def build(self, channels: Sequence[int], classes: int, *, seed: int = 0) -> HeadModule:
        """Return the layers, initialized by a seed; arguments as in :meth:`module`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = self.module(channels, classes)
        track_statistics(module)
        return module


def outputs_of(said: Tensor | Shown) -> Tensor:
    """Return the outputs of a head that trains, whether it shows its maps or not."""
    return said.outputs if isinstance(said, Shown) else said


def at_least_float32(outputs: Tensor) -> Tensor:
    """Return outputs in a number format that losses are exact enough in."""
    return outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs
