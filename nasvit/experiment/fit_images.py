"""The images of one training: a part of the training split, a held-out part, and the test split."""

from __future__ import annotations

from functools import cached_property, lru_cache

from torch import Tensor

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
from nasvit.data.sources import SplitName
from nasvit.data.splits import held_out_indices
from nasvit.experiment.config import DataConfig
from nasvit.experiment.fit_config import FitConfig
from nasvit.experiment.workbench import open_loader

_SUBSET_SEED = 0  # a constant: runs that differ in seed only shall see the same images


class FitImages:
    """Serves the images of one training, loaded when they are needed.

    Args:
        config: what is trained.
    """

    def __init__(self, config: FitConfig) -> None:
        self.config = config

    @cached_property
    def data(self) -> SearchData:
        """Training and validation images.

        Raises:
            ValueError: if more images are asked for than there are.
        """
        images, wanted = self._load("train"), self.config.images
        if wanted > len(images):
            raise ValueError(f"images {wanted}: {images.name} has {len(images)} training images")
        if 0 < wanted < len(images):
            kept, _ = held_out_indices(images.targets, fraction=1 - wanted / len(images), seed=_SUBSET_SEED)
            images = images.subset(kept)
        return hold_out(images, fraction=self.config.data.validation, seed=_SUBSET_SEED)

    @cached_property
    def test(self) -> ImageSet:
        """The test images; no decision is made on them."""
        return self._load("test")

    @cached_property
    def normalization(self) -> Normalization:
        """Mean and deviation of the training images."""
        return Normalization.of(self.data.train)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.data.train.classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image: channels, height, width; the shortest description of what the network takes."""
        images, side = self.data.train, self.config.data.image_size
        return (images.channels, *((side, side) if side else images.image_size or (0, 0)))

    def training(self) -> Loader:
        """Return what serves training batches, augmented as the recipe says."""
        config, recipe = self.config.data, self.config.recipe
        augmentation = Augmentation.from_recipe(recipe, crop=config.crop, padding=config.padding, mirror=config.mirror)
        return self._loader(self.data.train, recipe.batch_size, augmentation)

    def plain(self, images: ImageSet, batch_size: int = 500) -> Loader:
        """Return what serves ``images`` as they are."""
        return self._loader(images, min(batch_size, len(images)), NO_AUGMENTATION)

    def calibration(self, images: int) -> tuple[Tensor, ...]:
        """Return batches of so many training images, or of all, to take batch-norm statistics from."""
        train = self.data.train
        images = min(images, len(train))
        count = -(-images // 500)  # equal batches, so that 700 images are two of 350
        return self.plain(train, images // count).calibration_batches(count)

    def _loader(self, images: ImageSet, batch_size: int, augmentation: Augmentation) -> Loader:
        return open_loader(self.config.data, images, self.normalization, batch_size, augmentation, self.config.seed)

    def _load(self, split: SplitName) -> ImageSet:
        return _loaded(self.config.data, split)


@lru_cache(maxsize=2)  # trainings that follow each other in one process mostly share their images
def _loaded(config: DataConfig, split: SplitName) -> ImageSet:
    return load_images(config.source, split, image_size=config.image_size, download=config.download)
