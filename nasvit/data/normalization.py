"""Mean and standard deviation of a training split, computed once and recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nasvit.compute import CPU
from nasvit.data.images import EncodedImages, ImageSet, square, to_pixels

_CHUNK = 1024
_SAMPLED_IMAGES = 1024
_SAMPLED_SIDE = 128


@dataclass(frozen=True)
class Normalization:
    """Shift and scale of the channels: ``(value / 255 - mean) / std``.

    Args:
        mean: mean of every channel, for pixels from 0 to 1.
        std: standard deviation of every channel, for pixels from 0 to 1.
        origin: the images that both were computed from.

    Raises:
        ValueError: if the two differ in length or a standard deviation is not positive.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: str

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise ValueError(f"normalization: {len(self.mean)} means but {len(self.std)} standard deviations")
        if min(self.std) <= 0:
            raise ValueError(
                f"normalization: std {self.std} must be positive; is every image of {self.origin} the same?"
            )

    @classmethod
    def imagenet(cls) -> Normalization:
        """Return the constants of ImageNet, for weights that were trained with them."""
        return cls((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "ImageNet constants")

    @classmethod
    def of(cls, images: ImageSet) -> Normalization:
        """Compute both from an image set: from all pixels if in memory, else from 1024 images spread evenly over it.

        Args:
            images: the training split.
        """
        # Row 0 counts pixels, row 1 sums them, row 2 sums their squares: integers, so exact and in any order.
        moments = np.stack([_moments(pixels) for pixels in _chunks(images)]).sum(axis=0)
        count, total, squares = moments.astype(np.float64)
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
        return cls(_rounded(mean / 255), _rounded(std / 255), f"{images.name}, {_extent(images)}")


class Normalizer:
    """Normalizes batches on one device, where its constants are put once.

    Args:
        normalization: shift and scale of the channels.
        device: where the batches are.
        channels_last: memory layout of the results.
    """

    def __init__(self, normalization: Normalization, device: torch.device = CPU, *, channels_last: bool = True) -> None:
        self._normalization = normalization
        self._device = device
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self._constants: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalize a batch.

        Args:
            pixels: uint8 (B, H, W, C), on the device.

        Returns:
            float32 (B, C, H, W).

        Raises:
            ValueError: if the images have another number of channels.
        """
        batch, height, width, channels = pixels.shape
        scale, shift = self._of_lines(width, channels)
        # A whole line of pixels at a time: over three channels alone the loops would be too short to be fast.
        values = pixels.reshape(batch * height, width * channels).to(torch.float32)
        values.mul_(scale).add_(shift)
        images = values.view(batch, height, width, channels).permute(0, 3, 1, 2)
        return images.contiguous(memory_format=self._layout)

    def _of_lines(self, width: int, channels: int) -> tuple[Tensor, Tensor]:
        mean, std = self._normalization.mean, self._normalization.std
        if channels != len(mean):
            origin = self._normalization.origin
            raise ValueError(f"images have {channels} channels, the normalization of {origin} {len(mean)}")
        if width not in self._constants:
            scale = torch.tensor([1 / (255 * each) for each in std]).repeat(width)
            shift = torch.tensor([-center / each for center, each in zip(mean, std)]).repeat(width)
            self._constants[width] = scale.to(self._device), shift.to(self._device)
        return self._constants[width]


def _moments(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    width, channels = pixels.shape[-2:]
    lines = pixels.reshape(-1, width * channels)
    count = np.full(width * channels, len(lines), dtype=np.int64)
    total = lines.sum(axis=0, dtype=np.int64)
    squares = np.square(lines, dtype=np.uint16).sum(axis=0, dtype=np.int64)
    summed: npt.NDArray[np.int64] = np.stack([count, total, squares]).reshape(3, width, channels).sum(axis=1)
    return summed


def _chunks(images: ImageSet) -> Iterator[npt.NDArray[np.uint8]]:
    if isinstance(images.images, EncodedImages):
        chosen = np.unique(np.linspace(0, len(images) - 1, _SAMPLED_IMAGES).astype(np.int64))
        return (to_pixels(square(images.open(index), _SAMPLED_SIDE)) for index in chosen.tolist())
    pixels = images.images.permute(0, 2, 3, 1).numpy()
    return (pixels[start : start + _CHUNK] for start in range(0, len(pixels), _CHUNK))


def _extent(images: ImageSet) -> str:
    if isinstance(images.images, EncodedImages) and len(images) > _SAMPLED_IMAGES:
        return f"{_SAMPLED_IMAGES} of {len(images)} images"
    return f"all {len(images)} images"


def _rounded(values: npt.NDArray[np.float64]) -> tuple[float, ...]:
    # Six digits are more than the data can support, and survive every way of writing them down.
    return tuple(round(float(value), 6) for value in values)
