"""The images of one experiment or training: a training part, a held-out part, and the test split."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from nasvit.compute import ALONE, Compute
from nasvit.data import (
    NO_AUGMENTATION,
    Augmentation,
    ImageSet,
    Loader,
    Normalization,
    SearchData,
    hold_out,
    load_images,
)
from nasvit.data.config import DataConfig
from nasvit.data.sources import SplitName
from nasvit.data.splits import held_out_indices
from nasvit.data.workers import choose_workers
from nasvit.export.card import Card
from nasvit.specs import Spec
from nasvit.tasks.classification import Classification
from nasvit.tasks.task import Task
from search_spaces.recipe import Recipe

BAD_IMAGES = "bad_images.json"
"""File that remembers which images are bad, in the folder of the results."""

_SUBSET_SEED = 0  # a constant: trainings that differ in seed only shall see the same images


class Images:
    """The image sets of one experiment, loaded when first used, and their loaders.

    Args:
        config: source, split and loading of the images.
        seed: seed of the order and augmentation of training batches.
        split_seed: seed of the held-out split.
        channels: 1 or 3; None: those of the source.
        most: largest number of training images, held-out ones included; 0: all.
        compute: device of the batches, and the processes that share them.
        folder: folder that remembers which images are bad, where these are left out; all processes must see it.
    """

    def __init__(
        self,
        config: DataConfig,
        *,
        seed: int,
        split_seed: int = 0,
        channels: int | None = None,
        most: int = 0,
        compute: Compute = ALONE,
        folder: Path | None = None,
    ) -> None:
        self.config, self.seed, self.split_seed, self.compute = config, seed, split_seed, compute
        self._channels, self._most = channels, most
        self._record = folder / BAD_IMAGES if folder is not None and config.on_bad_image == "skip" else None
        self._plain_loaders: dict[tuple[ImageSet, int, int, Compute], Loader] = {}

    @cached_property
    def data(self) -> SearchData:
        """Training and validation images. Of several processes all open them together.

        Raises:
            ValueError: if ``most`` is larger than the source, or a process sees other images than the first.
        """
        if self._record is not None or self.config.download:
            self.compute.once(self._load_both)  # the other processes read what the first one found, or fetched
        images, wanted = self._load("train"), self._most
        if wanted > len(images):
            raise ValueError(f"images {wanted}: {images.name} has {len(images)} training images")
        if 0 < wanted < len(images):
            kept, _ = held_out_indices(images.targets, fraction=1 - wanted / len(images), seed=_SUBSET_SEED)
            images = images.subset(kept)
        data = hold_out(images, fraction=self.config.validation, seed=self.split_seed)
        data.record.check(self.compute.from_first(data.record.to_json))
        return data

    @cached_property
    def test(self) -> ImageSet:
        """The test images; no decision depends on them."""
        return self._load("test")

    def open(self) -> None:
        """Open all images, so that what is wrong with the test images too shows before anything is trained.

        Raises:
            ValueError: if there are no such images.
        """
        assert self.data is not None
        assert self.test is not None

    @property
    def train(self) -> ImageSet:
        """The images that weights are trained on."""
        return self.data.train

    @property
    def validation(self) -> ImageSet:
        """The held-out images that decisions are made on."""
        return self.data.validation

    @property
    def whole(self) -> ImageSet:
        """All images that are not for testing, held-out ones included, in their original order."""
        return self.data.whole

    @cached_property
    def normalization(self) -> Normalization:
        """Mean and deviation of the training images."""
        return Normalization.of(self.train)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.train.classes

    @cached_property
    def task(self) -> Task:
        """The task of these images."""
        return Classification(len(self.classes))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image: channels, height, width; zeros where sizes differ."""
        side = self.config.image_size
        return (self.train.channels, *((side, side) if side else self.train.image_size or (0, 0)))

    def card(self, spec: Spec, origin: Mapping[str, Any], *, fused: bool = False) -> Card:
        """Return the card of a network that was trained on these images.

        Args:
            spec: spec of the network.
            origin: origin of the weights.
            fused: whether its branches were fused.
        """
        normalization = self.normalization
        side = self.shape[1] or None
        return Card(
            spec,
            self.classes,
            side,
            normalization.mean,
            normalization.std,
            fused,
            origin,
            crop_pct=self.config.crop_pct,
        )

    def training(self, recipe: Recipe, images: ImageSet | None = None, compute: Compute | None = None) -> Loader:
        """Return the loader of training batches, augmented by a recipe; each of several processes gets its part.

        Args:
            recipe: batch size and augmentation.
            images: images to load; all training images if left out.
            compute: device and processes, if others than those of all images.
        """
        config = self.config
        augmentation = Augmentation.from_recipe(recipe, crop=config.crop, padding=config.padding, mirror=config.mirror)
        chosen = self.train if images is None else images
        return self._loader(chosen, recipe.batch_size, augmentation, seed=self.seed, compute=compute or self.compute)

    def evaluation_loader(self, images: ImageSet, batch_size: int = 500, compute: Compute | None = None) -> Loader:
        """Return the loader of ``images`` without augmentation; it is kept, with what it decoded.

        Args:
            images: the images.
            batch_size: most images of a batch.
            compute: device and processes, if others than those of all images.
        """
        return self._plain_loader(images, min(batch_size, len(images)), compute)

    def calibration(
        self, batches: int, batch_size: int, *, seed: int = 0, compute: Compute | None = None
    ) -> Sequence[Tensor]:
        """Return batches of training images to take batch-norm statistics from; fewer if there are too few images.

        Args:
            batches: number of batches.
            batch_size: most images of a batch.
            seed: decides which images these are.
            compute: device, if another than that of all images.
        """
        size = min(batch_size, len(self.train))
        loader = self._plain_loader(self.train, size, compute, seed=seed)
        return loader.calibration_batches(min(batches, len(self.train) // size))

    def calibration_of(self, count: int, compute: Compute | None = None) -> Sequence[Tensor]:
        """Return equal batches of about ``count`` training images, or of all, to take batch-norm statistics from.

        Which ones follows from the seed.
        """
        count = min(count, len(self.train))
        batches = -(-count // 500)  # equal batches, so that 700 images are two of 350
        return self.calibration(batches, count // batches, seed=self.seed, compute=compute)

    def _plain_loader(self, images: ImageSet, batch_size: int, compute: Compute | None, *, seed: int = 0) -> Loader:
        key = images, batch_size, seed, compute or self.compute
        if key not in self._plain_loaders:
            made = self._loader(images, batch_size, NO_AUGMENTATION, seed=seed, compute=key[-1])
            self._plain_loaders[key] = made
        return self._plain_loaders[key]

    def _loader(
        self, images: ImageSet, batch_size: int, augmentation: Augmentation, *, seed: int, compute: Compute
    ) -> Loader:
        workers = self.config.workers
        return Loader(
            images,
            batch_size=batch_size,
            normalization=self.normalization,
            augmentation=augmentation,
            image_size=self.config.image_size,
            crop_pct=self.config.crop_pct,
            seed=seed,
            compute=compute,
            workers=choose_workers(images, compute.device) if workers is None else workers,
        )

    def _load_both(self) -> None:
        self._load("train")
        self._load("test")

    def _load(self, split: SplitName) -> ImageSet:
        with warnings.catch_warnings():
            if not self.compute.is_first:  # the first process says which images are left out
                warnings.simplefilter("ignore", UserWarning)
            return _loaded(self.config, split, self._channels, self._record)


@lru_cache(maxsize=2)  # trainings that follow each other in one process mostly share their images
def _loaded(config: DataConfig, split: SplitName, channels: int | None, record: Path | None) -> ImageSet:
    return load_images(
        config.source,
        split,
        image_size=config.image_size,
        channels=channels,
        download=config.download,
        keep_encoded=config.crop_pct < 1,
        on_bad_image=config.on_bad_image,
        workers=config.workers,
        record=record,
    )
