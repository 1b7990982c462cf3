"""Augmentation of training images: its strength, its random numbers, crop, mirror, AutoAugment, RandAugment, mixing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from nasvit.data.images import to_pixels
from nasvit.data.randomness import global_random_kept, seed_global_random

if TYPE_CHECKING:  # timm takes seconds to import, and is imported here where images are augmented
    from timm.data.auto_augment import AutoAugment, RandAugment
    from timm.data.transforms import RandomResizedCropAndInterpolation

Pixels = npt.NDArray[np.uint8]

_COLORS = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "PosterizeIncreasing",
    "SolarizeIncreasing",
    "SolarizeAdd",
    "ColorIncreasing",
    "ContrastIncreasing",
    "BrightnessIncreasing",
    "SharpnessIncreasing",
)


class RecipeLike(Protocol):
    """The part of a recipe that says how images are augmented."""

    @property
    def randaugment(self) -> int: ...
    @property
    def autoaugment(self) -> str: ...
    @property
    def random_erasing(self) -> float: ...
    @property
    def mixup(self) -> float: ...
    @property
    def cutmix(self) -> float: ...


@dataclass(frozen=True)
class Augmentation:
    """Strength of the augmentation of training images. The default is weak, which trains a supernet best.

    Args:
        crop: ``pad`` cuts the stored size out of the image padded with black; ``resized`` cuts out a random part and
            resizes it (for photos); ``none`` leaves the image, or its center. With boxes or masks: see
            :class:`nasvit.data.annotated_preparation.AnnotatedPreparation`.
        padding: pixels added at every side for ``pad``.
        scale: smallest and largest share of the image's area for ``resized``.
        mirror: mirror half of the images left to right. None: only where a mirrored image still shows its class.
        randaugment: magnitude of RandAugment, an integer 0 to 10; 0 is off.
        randaugment_layers: operations of RandAugment per image.
        autoaugment: policy of AutoAugment, ``original`` or ``v0``; ``none`` is off; for class labels only.
        random_erasing: share of the images a rectangle is erased from.
        mixup: alpha of the beta distribution of mixup, 0 is off; not for masks.
        cutmix: alpha of the beta distribution of CutMix, 0 is off, for class labels only; with both on, each batch
            takes one of the two.

    Raises:
        ValueError: if a value is out of its range.

    Source: Gong et al., NASViT (ICLR 2022): RandAugment of one operation at magnitude 1, hardly any erasing or mixing.
    """

    crop: Literal["none", "pad", "resized"] = "pad"
    padding: int = 4
    scale: tuple[float, float] = (0.08, 1.0)
    mirror: bool | None = None
    randaugment: int = 1
    randaugment_layers: int = 1
    autoaugment: str = "none"
    random_erasing: float = 0.01
    mixup: float = 0.01
    cutmix: float = 0.01

    def __post_init__(self) -> None:
        if self.crop not in ("none", "pad", "resized"):
            raise ValueError(f"crop {self.crop!r}: legal are 'none', 'pad' and 'resized'")
        if self.randaugment not in range(11):
            raise ValueError(f"randaugment {self.randaugment!r}: legal are the integers 0 (off) to 10")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale {self.scale}: must be 0 < smallest <= largest <= 1")
        if not 0 <= self.random_erasing <= 1:
            raise ValueError(f"random_erasing {self.random_erasing}: legal are shares from 0 to 1")
        for name in ("padding", "randaugment_layers", "mixup", "cutmix"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} {getattr(self, name)}: must not be negative")

    @property
    def varies(self) -> bool:
        """Whether library code varies the pixels of each image."""
        return self.randaugment > 0 or self.autoaugment != "none"

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are mixed, so that targets become class probabilities."""
        return self.mixup > 0 or self.cutmix > 0

    @classmethod
    def from_recipe(
        cls,
        recipe: RecipeLike,
        *,
        crop: Literal["none", "pad", "resized"] = "pad",
        padding: int = 4,
        mirror: bool | None = None,
    ) -> Augmentation:
        """Take the strengths from a recipe and the geometry, which depends on the images, from the caller."""
        return cls(
            crop=crop,
            padding=padding,
            mirror=mirror,
            randaugment=recipe.randaugment,
            autoaugment=recipe.autoaugment,
            random_erasing=recipe.random_erasing,
            mixup=recipe.mixup,
            cutmix=recipe.cutmix,
        )


NO_AUGMENTATION = Augmentation(crop="none", mirror=False, randaugment=0, random_erasing=0, mixup=0, cutmix=0)
"""No augmentation at all."""


@dataclass(frozen=True)
class Draws:
    """All random numbers that augment one batch, drawn at once, so that a process may compute any part of the batch.

    Args:
        offsets: (B, 2), row and column by which the crop is moved against the image.
        mirrored: bool (B,).
        image_seeds: (B,), seeds of the library code that varies each image.
        erased: bool (B,).
        erasing_seeds: (B,).
        mixing_seed: seed of mixup and CutMix.
    """

    offsets: npt.NDArray[np.int64]
    mirrored: npt.NDArray[np.bool_]
    image_seeds: npt.NDArray[np.int64]
    erased: npt.NDArray[np.bool_]
    erasing_seeds: npt.NDArray[np.int64]
    mixing_seed: int

    @classmethod
    def of(cls, augmentation: Augmentation, mirror: bool, count: int, rng: np.random.Generator) -> Draws:
        """Draw for a batch of ``count`` images."""
        padding = augmentation.padding if augmentation.crop == "pad" else 0
        return cls(
            offsets=rng.integers(-padding, padding, size=(count, 2), endpoint=True),
            mirrored=(rng.random(count) < 0.5) & mirror,
            image_seeds=rng.integers(2**32, size=count),
            erased=rng.random(count) < augmentation.random_erasing,
            erasing_seeds=rng.integers(2**32, size=count),
            mixing_seed=int(rng.integers(2**32)),
        )

    def at(self, positions: npt.NDArray[np.int64]) -> Draws:
        """Return the random numbers of some images of the batch."""
        return Draws(
            self.offsets[positions],
            self.mirrored[positions],
            self.image_seeds[positions],
            self.erased[positions],
            self.erasing_seeds[positions],
            self.mixing_seed,
        )


def moved_and_mirrored(stored: Pixels, rows: npt.NDArray[np.int64], draws: Draws) -> Pixels:
    """Crop images padded with black at the drawn offsets, and mirror the drawn ones.

    Args:
        stored: uint8 (N, H, W, C), all images.
        rows: (B,), indices of the images of the batch.
        draws: the random numbers of these images.

    Returns:
        uint8 (B, H, W, C).
    """
    height, width = stored.shape[1:3]
    batch = np.zeros((len(rows), *stored.shape[1:]), dtype=np.uint8)
    # One copy of a window per image: measured faster than gathering all pixels of the batch by index.
    for image, row, (down, right), mirrored in zip(
        batch, rows.tolist(), draws.offsets.tolist(), draws.mirrored.tolist()
    ):
        top, left = max(0, -down), max(0, -right)
        bottom, end = height - max(0, down), width - max(0, right)
        window = stored[row, top + down : bottom + down, left + right : end + right]
        if mirrored:
            image[top:bottom, width - end : width - left] = window[:, ::-1]
        else:
            image[top:bottom, left:end] = window
    return batch


class ImageVariation:
    """Vary one image with Pillow: random resized crop and mirroring where images are not cropped yet, then
    AutoAugment and RandAugment.

    Args:
        augmentation: strength of the augmentation; with any other crop than ``resized`` only these two are left.
        size: height and width of a resized crop, in pixels.
        channels: 1 or 3.
    """

    def __init__(self, augmentation: Augmentation, size: tuple[int, int], channels: int) -> None:
        self._crop = _random_crop(augmentation, size) if augmentation.crop == "resized" else None
        self._autoaugment = auto_augment(augmentation, channels) if augmentation.autoaugment != "none" else None
        self._randaugment = rand_augment(augmentation, channels) if augmentation.randaugment > 0 else None

    def __call__(self, image: Image.Image, mirrored: bool, seed: int) -> Pixels:
        """Vary one image; call it inside ``global_random_kept``.

        Args:
            image: mode ``L`` or ``RGB``.
            mirrored: whether to mirror it after a resized crop.
            seed: seed of all other random numbers.

        Returns:
            uint8 (H, W, C).
        """
        seed_global_random(seed)
        if self._crop is not None:
            image = self._crop(image)
            if mirrored:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self._autoaugment is not None:
            image = self._autoaugment(image)
        if self._randaugment is not None:
            image = self._randaugment(image)
        return to_pixels(image)


def _random_crop(augmentation: Augmentation, size: tuple[int, int]) -> RandomResizedCropAndInterpolation:
    from timm.data.transforms import RandomResizedCropAndInterpolation

    return RandomResizedCropAndInterpolation(size, scale=augmentation.scale, interpolation="bicubic")


def color_augment(augmentation: Augmentation, channels: int) -> RandAugment:
    """Return the operations of RandAugment that change colors and move nothing."""
    return rand_augment(augmentation, channels, _COLORS)


def rand_augment(augmentation: Augmentation, channels: int, operations: Sequence[str] | None = None) -> RandAugment:
    """Return RandAugment of a strength; call it inside ``global_random_kept``.

    Args:
        augmentation: magnitude and operations per image.
        channels: 1 or 3.
        operations: names of the operations to draw from; None: all.
    """
    from timm.data.auto_augment import rand_augment_transform

    name = f"rand-m{augmentation.randaugment}-n{augmentation.randaugment_layers}-mstd0.5-inc1"
    # At its full magnitude of 10 timm asks Pillow to keep 0 bits of a color, which recent Pillow refuses.
    options = {"img_mean": _fill(channels), "magnitude_max": 9.999}
    made: RandAugment = rand_augment_transform(name, options, None if operations is None else list(operations))
    return made


def auto_augment(augmentation: Augmentation, channels: int) -> AutoAugment:
    """Return AutoAugment of a policy; call it inside ``global_random_kept``.

    Source: Cubuk et al., AutoAugment (CVPR 2019), https://arxiv.org/abs/1805.09501

    Args:
        augmentation: the policy.
        channels: 1 or 3.
    """
    from timm.data.auto_augment import auto_augment_transform, posterize

    made: AutoAugment = auto_augment_transform(augmentation.autoaugment, {"img_mean": _fill(channels)})
    for operation in (each for policy in made.policy for each in policy):
        if operation.aug_fn is posterize:
            operation.aug_fn = _posterized
    return made


def _posterized(image: Image.Image, bits: int, **_: object) -> Image.Image:
    """Keep the first bits of every color, one at least: none, as some policies say, is refused by recent Pillow."""
    from timm.data.auto_augment import posterize

    kept: Image.Image = posterize(image, max(bits, 1))
    return kept


def _fill(channels: int) -> int | tuple[int, ...]:
    """Return the gray that is behind moved images."""
    gray = 128
    return gray if channels == 1 else (gray,) * channels


class Mixing:
    """Mixup and CutMix of each image with that at the same place of the reversed batch.

    Args:
        augmentation: the alphas of mixup and CutMix.
        classes: number of classes.
    """

    def __init__(self, augmentation: Augmentation, classes: int) -> None:
        from timm.data.mixup import Mixup

        self._mixup = Mixup(augmentation.mixup, augmentation.cutmix, label_smoothing=0.0, num_classes=classes)

    def __call__(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Mix a batch, images in place.

        Args:
            images: float32 (B, C, H, W), B even.
            targets: int64 (B,).
            seed: equal seeds give equal mixing.

        Returns:
            The images, and class probabilities float32 (B, classes).
        """
        with global_random_kept():
            seed_global_random(seed)
            mixed, probabilities = self._mixup(images, targets)
        return mixed, probabilities
