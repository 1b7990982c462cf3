"""What belongs to images: class indices, boxes or masks, of a whole set and of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nasvit.data.encoded_masks import EncodedMasks
from nasvit.data.mask_table import IGNORED
from nasvit.data.stores import Indices

__all__ = ["IGNORED", "BoxTargets", "Boxes", "Masks", "Objects", "Targets", "content_of", "map_tensors", "take"]

T = TypeVar("T")

_ROOM = 8


class Targets(Protocol):
    """What belongs to the images of a set, one entry for each; class indices are a plain tensor instead."""

    def __len__(self) -> int: ...

    def take(self, indices: Indices) -> Targets:
        """Return the entries at ``indices``, in that order."""

    def content(self) -> bytes:
        """Return bytes that are equal for equal targets only."""


class BoxTargets(NamedTuple):
    """Boxes of a batch; every tensor has a row for each image.

    Args:
        boxes: float32 (B, N, 4): x1, y1, x2, y2 in pixels of the batch's images; zeros where there is no box.
        labels: int64 (B, N), class index; -1 where there is no box.
        crowd: bool (B, N), whether the box is around a crowd (COCO's ``iscrowd``), which the metric alone looks at.
        areas: float32 (B, N), the annotation's own area in pixels of the stored image.
        scale: float32 (B,), pixels of the batch's image for one pixel of the stored image.
    """

    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    areas: Tensor
    scale: Tensor

    @classmethod
    def padded(cls, images: Sequence[Objects], scales: Sequence[float], most: int) -> BoxTargets:
        """Return the targets of some images, with room for ``most`` boxes in each, no fewer than any of them has."""
        count = len(images)
        made = cls(
            torch.zeros(count, most, 4),
            torch.full((count, most), -1, dtype=torch.int64),
            torch.zeros(count, most, dtype=torch.bool),
            torch.zeros(count, most),
            torch.tensor(scales, dtype=torch.float32),
        )
        for row, objects in enumerate(images):
            for padded, values in zip(made, objects):
                padded[row, : len(objects.boxes)] = torch.from_numpy(values)
        return made


class Objects(NamedTuple):
    """The boxes of one image, (n, 4), with their labels, crowd flags and areas, each (n,)."""

    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]
    areas: npt.NDArray[np.float32]

    def where(self, kept: npt.NDArray[np.bool_]) -> Objects:
        """Return some of the boxes."""
        return Objects(self.boxes[kept], self.labels[kept], self.crowd[kept], self.areas[kept])


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of a set of images, those of one image behind those of the image before it.

    Args:
        boxes: float32 (M, 4): x1, y1, x2, y2 in pixels of the stored image.
        labels: int64 (M,), class index.
        crowd: bool (M,), whether the box is around a crowd.
        areas: float32 (M,), the annotation's own area in pixels of the stored image.
        starts: int64 (N + 1,), the first box of every image, and M.
        sizes: int64 (N, 2), height and width of every stored image in pixels.
    """

    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    areas: Tensor
    starts: Tensor
    sizes: Tensor

    def __len__(self) -> int:
        return len(self.sizes)

    def room(self, indices: Indices) -> int:
        """Return the most boxes of one of the images at ``indices``, rounded up to 8, 16, 24 and so on."""
        chosen = torch.from_numpy(indices)
        most = int((self.starts[chosen + 1] - self.starts[chosen]).max())
        return max(1, -(-most // _ROOM)) * _ROOM  # few different sizes, for which devices keep memory and programs

    def of_image(self, index: int) -> Objects:
        """Return the boxes of one image."""
        first, last = self.starts[index : index + 2].tolist()
        return Objects(*(each[first:last].numpy() for each in (self.boxes, self.labels, self.crowd, self.areas)))

    def take(self, indices: Indices) -> Boxes:
        """Return the boxes of the images at ``indices``."""
        chosen = torch.from_numpy(indices)
        counts = self.starts.diff()[chosen]
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
        shift = (self.starts[chosen] - starts[:-1]).repeat_interleave(counts)
        rows = torch.arange(int(starts[-1])) + shift
        return Boxes(
            self.boxes[rows], self.labels[rows], self.crowd[rows], self.areas[rows], starts, self.sizes[chosen]
        )

    def content(self) -> bytes:
        """Return bytes that are equal for equal boxes only."""
        parts = (self.boxes, self.labels, self.crowd, self.areas, self.starts, self.sizes)
        return b"".join(each.numpy().tobytes() for each in parts)


@dataclass(frozen=True, eq=False)
class Masks:
    """Masks of a set of images: the class index of every pixel, ``IGNORED`` where nothing is learned or judged.

    Args:
        stored: uint8 (N, H, W), of the size that the images are held in; or encoded masks of the stored images' sizes.
        sizes: int64 (N, 2), height and width of every stored image in pixels.
    """

    stored: Tensor | EncodedMasks
    sizes: Tensor

    def __len__(self) -> int:
        return len(self.sizes)

    def take(self, indices: Indices) -> Masks:
        """Return the masks of the images at ``indices``."""
        chosen = torch.from_numpy(indices)
        stored = self.stored.take(indices) if isinstance(self.stored, EncodedMasks) else self.stored[chosen]
        return Masks(stored, self.sizes[chosen])

    def content(self) -> bytes:
        """Return bytes that are equal for equal masks only."""
        held = self.stored
        stored = held.content() if isinstance(held, EncodedMasks) else held.numpy().tobytes()
        return stored + self.sizes.numpy().tobytes()


def take(targets: Any, indices: Indices) -> Any:
    """Return the targets of the images at ``indices``: class indices, boxes or masks."""
    return targets[torch.from_numpy(indices)] if isinstance(targets, Tensor) else targets.take(indices)


def content_of(targets: Any) -> bytes:
    """Return bytes that are equal for equal targets only."""
    content: bytes = targets.numpy().tobytes() if isinstance(targets, Tensor) else targets.content()
    return content


def map_tensors(function: Callable[[Tensor], Tensor], targets: T) -> T:
    """Apply a function to the targets of a batch: a tensor, or every tensor of a tuple, whose type is kept."""
    if isinstance(targets, Tensor):
        return function(targets)  # type: ignore[return-value]
    made: Any = getattr(type(targets), "_make", type(targets))
    return made(map_tensors(function, each) for each in targets)  # type: ignore[attr-defined, no-any-return]
