"""Teachers that get images in their own normalization and size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasvit.heads.head import at_least_float32


class Teacher(nn.Module):
    """A frozen network that converts the student's images to its own normalization and size.

    The student's images are normalized by the statistics of its data. A teacher that was trained with other statistics
    would get unknown colors and contrasts; one affine map per channel converts one normalization to the other.

    Args:
        network: the teacher; from now on frozen and in evaluation mode.
        mean: mean of each channel of the student's images, for pixels from 0 to 1.
        deviation: standard deviation of each channel of the student's images.
        own_mean: mean of each channel of the teacher's images; empty: the student's.
        own_deviation: standard deviation of each channel of the teacher's images.
        side: side of the images that the teacher was trained with, in pixels; None: images are not resized.
        columns: which of its scores belong to the student's classes, one after the other; empty: all as they are.

    Shape:
        ``(batch, channels, height, width) -> (batch, classes)``

    Raises:
        ValueError: if the teacher takes another number of channels.
    """

    scale: Tensor
    shift: Tensor
    columns: Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: Sequence[float],
        deviation: Sequence[float],
        *,
        own_mean: Sequence[float] = (),
        own_deviation: Sequence[float] = (),
        side: int | None = None,
        columns: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if own_mean and len(own_mean) != len(mean):
            raise ValueError(f"the teacher takes images of {len(own_mean)} channels, the student's have {len(mean)}")
        self.network = network.requires_grad_(False)
        self.side = side
        self.converts = bool(own_mean) and (tuple(own_mean), tuple(own_deviation)) != (tuple(mean), tuple(deviation))
        theirs, ours = (tuple(own_mean) or mean, tuple(own_deviation) or deviation), (mean, deviation)
        scale = [our / their for our, their in zip(ours[1], theirs[1], strict=True)]
        shift = [(m - own) / dev for m, own, dev in zip(ours[0], theirs[0], theirs[1], strict=True)]
        self.register_buffer("scale", torch.tensor(scale)[:, None, None], persistent=False)
        self.register_buffer("shift", torch.tensor(shift)[:, None, None], persistent=False)
        self.register_buffer("columns", torch.tensor(columns, dtype=torch.int64), persistent=False)
        self.eval()

    def own(self, images: Tensor) -> Tensor:
        """Return the student's images as the network takes them."""
        if self.converts:
            images = images * self.scale + self.shift
        if self.side is not None and images.shape[2:] != (self.side, self.side):
            images = F.interpolate(images, (self.side, self.side), mode="bicubic", antialias=True)
        like = next(self.network.parameters(), images)  # a network may be saved in half precision
        return images.to(like.dtype)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.network(self.own(images))
        return scores.index_select(1, self.columns) if len(self.columns) else scores

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode."""
        return super().train(False)


class Teachers(nn.Module):
    """Several teachers as one, whose probabilities are the mean of theirs at a temperature.

    Its scores are the logarithms of that mean, so that whatever takes the softmax of a teacher's scores gets the mean.

    Args:
        teachers: frozen networks of the same classes, each with scores of its own scale.
        temperature: their scores are divided by it; NASViT sharpens its two teachers with 1/5.

    Shape:
        ``(batch, channels, height, width) -> (batch, classes)``, float32

    Raises:
        ValueError: if there is no teacher, or the temperature is not positive.

    Source: the released NASViT.
    """

    def __init__(self, teachers: Sequence[nn.Module], temperature: float = 1.0) -> None:
        super().__init__()
        if not teachers or not temperature > 0:
            raise ValueError(f"{len(teachers)} teachers at temperature {temperature}; legal: 1 and more, above 0")
        self.teachers, self.temperature = nn.ModuleList(teachers), temperature
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        each = torch.stack([at_least_float32(teacher(images)) / self.temperature for teacher in self.teachers])
        # In logarithms, because a probability that underflows to 0 would make the student's loss infinite or NaN.
        return each.log_softmax(2).logsumexp(0) - math.log(len(each))

    def train(self, mode: bool = True) -> Teachers:
        """Stay in evaluation mode."""
        return super().train(False)
