"""The images of one experiment or training: a training part, a held-out part, and the test split."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
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
from nasvit.data.annotated import TaskName
from nasvit.data.bad import BadImageError, judge
from nasvit.data.check import bad_heads
from nasvit.data.config import DataConfig, height_and_width
from nasvit.data.encoded import EncodedImages
from nasvit.data.identity import Known
from nasvit.data.loader import served_size
from nasvit.data.mask_pixels import pixels_of_classes
from nasvit.data.sources import SPLITS, SplitName
from nasvit.data.splits import held_out_indices
from nasvit.data.workers import choose_workers
from nasvit.export.card import Card
from nasvit.heads.kinds import AnyHead
from nasvit.specs import Spec
from nasvit.tasks.by_head import task_of
from nasvit.tasks.class_weights import ClassWeights, balanced, weights_of
from nasvit.tasks.classification import Classification
from nasvit.tasks.segmentation import Segmentation
from nasvit.tasks.task import Task
from search_spaces.recipe import Recipe

BAD_IMAGES = "bad_images.json"
"""File that remembers which images are bad, in the folder of the results."""

DATA = "data.json"
"""File that says what the images are that the results in a folder rest on."""

_EVALUATED, _EVALUATED_DENSE = 500, 32  # images of a batch without augmentation; those with boxes and masks are large
_AT_ONCE = 2**26  # most scores of pixels of such a batch, or sixteenth pixels of one with boxes
_LEARNED = 5000  # training images that are evaluated, at most
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
        head: the head of the networks, which says their task; None: classification.
        held_out: share of the training images that is held out where neither the configuration nor the source says it;
            None: as a search needs it.
        folder: folder of the results, which remembers what the images are, and which are bad where these are left out;
            all processes must see it.
        begun: whether there are results in it, which only the images of before may go on with.
        class_weights: weights of the classes in the loss of a segmenter; None: all weigh alike.

    Attributes:
        made_up: whether there are none such, as in a check, for which nothing is fetched.
    """

    made_up = False

    def __init__(
        self,
        config: DataConfig,
        *,
        seed: int,
        split_seed: int = 0,
        channels: int | None = None,
        most: int = 0,
        compute: Compute = ALONE,
        head: AnyHead | None = None,
        held_out: float | None = None,
        folder: Path | None = None,
        begun: bool = False,
        class_weights: ClassWeights | None = None,
    ) -> None:
        self.head, self._held_out = head, held_out
        self._class_weights, self._balanced = class_weights, tuple[float, ...]()
        self.config, self.seed, self.split_seed, self.compute = config, seed, split_seed, compute
        self._channels, self._most = channels, most
        self._record = None if folder is None else folder / BAD_IMAGES
        self._known = None if folder is None else Known(folder / DATA, begun=begun)
        self._plain_loaders: dict[tuple[ImageSet, int, int, int | None, Compute], Loader] = {}
        self._tests_at: dict[int, ImageSet] = {}

    @cached_property
    def data(self) -> SearchData:
        """Training and validation images. Of several processes all open them together.

        Raises:
            ValueError: if ``most`` is larger than the source, a process sees other images than the first, or the images
                are not those that the results in the folder rest on.
        """
        if (self._record is not None and self.config.on_bad_image == "skip") or self.config.download:
            self.compute.once(self._load_both)  # the other processes read what the first one found, or fetched
        images, wanted = self._same(self._load_train(), "train"), self._most
        if wanted > len(images):
            raise ValueError(f"images {wanted}: {images.name} has {len(images)} training images")
        if 0 < wanted < len(images):
            kept, _ = held_out_indices(images.targets, fraction=1 - wanted / len(images), seed=_SUBSET_SEED)
            images = images.subset(kept)
        fraction = self.config.validation
        if fraction is None and images.validation is None:
            fraction = self._held_out
        data = hold_out(images, fraction=fraction, seed=self.split_seed)
        data.record.check(self.compute.from_first(data.record.to_json))
        return data

    @cached_property
    def test(self) -> ImageSet:
        """The test images; no decision depends on them.

        Raises:
            ValueError: if they are not those that the results in the folder rest on.
        """
        return self._same(self._load("test"), "test")

    def claim(self) -> None:
        """Record in the folder what the images are; called by one process, when the folder gets its first results."""
        if self._known is not None:
            self._known.write()

    def require_same(self) -> None:
        """Refuse images that are not those that the results in the folder rest on; they are listed, not decoded.

        Raises:
            ValueError: naming what changed.
        """
        for split in SPLITS:
            self._same(self._load(split, listed=True), split)

    def require_unchanged(self) -> None:
        """Refuse images of which some that are read anew changed while they were worked with.

        Raises:
            ValueError: naming some of them.
        """
        for split, images in (("train", self.whole), ("test", self.test)):
            if isinstance(images.images, EncodedImages):
                self._same(images, split)  # type: ignore[arg-type]

    def open(self) -> None:
        """Open all images and look at each, so that what is wrong, of the test images too, shows before any training.

        Raises:
            ValueError: if there are no such images, or bad ones among them that are not to be left out.
        """
        for images in (self.train, self.test):
            served_size(images, NO_AUGMENTATION, self.config.image_size, self.config.crop_pct)
        self.compute.once(self._look)

    def _look(self) -> None:
        """Refuse images whose heads or ends show that they are bad, those of both splits together."""
        problems = []
        for images in (self.whole, self.test):
            try:
                self._look_at(images)
            except BadImageError as error:
                problems.append(str(error))
        if problems:
            raise BadImageError("\n".join(problems))

    def _look_at(self, images: ImageSet) -> None:
        """Refuse bad images; those in memory were decoded, and where bad ones are left out all others were."""
        encoded, record = images.images, self._record
        if isinstance(encoded, EncodedImages) and self.config.on_bad_image == "stop":
            workers, mark = self.config.workers, images.fingerprint
            bad = bad_heads(encoded, images.targets, mark, images.name, record=record, workers=workers)
            judge(bad, images.name, "stop", encoded.name, record)

    @property
    def train(self) -> ImageSet:
        """The images that weights are trained on."""
        return self.data.train

    @cached_property
    def learned(self) -> ImageSet:
        """Some of the images that weights are trained on, spread over all: as many as are held out, within bounds.

        How well a network does on them, not augmented, says whether it could learn more of what it is shown.
        """
        count = min(len(self.train), len(self.validation), _LEARNED)
        return self.train.subset(np.linspace(0, len(self.train) - 1, count).astype(np.int64))

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

    @property
    def _at_once(self) -> int:
        if self.head is None:
            return _EVALUATED
        _, height, width = self.shape
        numbers = len(self.classes) if self.head.task == "segmentation" else 16
        return max(1, min(_EVALUATED_DENSE, _AT_ONCE // max(1, numbers * height * width)))

    @property
    def _task(self) -> TaskName:
        return "classification" if self.head is None else self.head.task

    @cached_property
    def task(self) -> Task:
        """The task of these images."""
        classes, (_, height, width) = len(self.classes), self.shape
        return Classification(classes) if self.head is None else task_of(self.head, classes, (height, width))

    def learned_task(self, compute: Compute) -> Task:
        """Return the task with its :meth:`class_weights`, as networks are trained for it; arguments as there."""
        weights = self.class_weights(compute)
        return replace(self.task, weights=weights) if isinstance(self.task, Segmentation) else self.task

    def class_weights(self, compute: Compute) -> tuple[float, ...]:
        """Return the weights of the classes in the loss; none: all weigh alike. Pixels are counted at the first call.

        Args:
            compute: the processes that train together; all of them call this together.

        Raises:
            FieldError: if weights do not fit the classes.
        """
        asked = self._class_weights
        if asked is None:
            return ()
        if not isinstance(asked, str):
            return weights_of(asked, self.classes, self.train.name)
        # Some processes may have counted before, each for trainings of its own; what the first one knows goes for all.
        self._balanced = compute.from_first(lambda: self._balanced or self._counted(compute.count > 1))
        return self._balanced

    def _counted(self, others_wait: bool) -> tuple[float, ...]:
        """Count the pixels of the training masks, and tell the weights that follow."""
        name, classes, workers = self.train.name, self.classes, self.config.workers
        counts = pixels_of_classes(self.train.targets, len(classes), name, workers=workers, others_wait=others_wait)
        weights = balanced(*counts)
        told = ", ".join(f"{each} {weight:.3g}" for each, weight in zip(classes, weights, strict=True))
        print(f"nasvit: {name}: weights of the classes: {told}", file=sys.stderr)
        return weights

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image: channels, height, width; zeros where sizes differ."""
        size = height_and_width(self.config.image_size)
        return (self.train.channels, *(size or self.train.image_size or (0, 0)))

    def shape_for(self, spec: Spec) -> tuple[int, int, int]:
        """Return the shape of one image as a network that was trained on these images is shipped to take it.

        A network that brings images to its own resolution is shipped at that resolution: resizing inside would need
        memory that its costs do not count. Images that are no squares it still resizes itself.

        Args:
            spec: spec of the network.
        """
        channels, height, width = self.shape
        side = spec.resizes_to
        return self.shape if side is None or height != width else (channels, side, side)

    def card(self, spec: Spec, origin: Mapping[str, Any], *, fused: bool = False) -> Card:
        """Return the card of a network that was trained on these images.

        Args:
            spec: spec of the network.
            origin: origin of the weights.
            fused: whether its branches were fused.
        """
        normalization = self.normalization
        _, height, width = self.shape_for(spec)
        side = height if height and height == width else None
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

    def evaluation_loader(
        self, images: ImageSet, batch_size: int | None = None, compute: Compute | None = None
    ) -> Loader:
        """Return the loader of ``images`` without augmentation; it is kept, with what it decoded.

        Args:
            images: the images.
            batch_size: most images of a batch; None: 500, of a dense task 32.
            compute: device and processes, if others than those of all images.
        """
        return self._plain_loader(images, min(batch_size or self._at_once, len(images)), compute)

    def test_loader(self, side: int | None, compute: Compute | None = None) -> Loader:
        """Return the loader of the test images as a shipped network takes them; it is kept, with what it decoded.

        Each image is resized once, from the size that its source has it in, by the rule of all images.

        Args:
            side: side of the images in pixels, as the network's card says it; None: that of all images.
            compute: device and processes, if others than those of all images.
        """
        if side in (None, self.shape[1]):
            return self.evaluation_loader(self.test, compute=compute)
        assert side is not None
        if side not in self._tests_at:
            self._tests_at[side] = self.test if self.test.image_size is None else self._load("test", side)
        images = self._tests_at[side]
        return self._plain_loader(images, min(self._at_once, len(images)), compute, side=side)

    def calibration(
        self, batches: int, batch_size: int, *, seed: int = 0, compute: Compute | None = None
    ) -> Sequence[Tensor]:
        """Return batches of training images to take batch-norm statistics from; fewer if there are too few images.

        Args:
            batches: number of batches.
            batch_size: most images of a batch; of a dense task no more than 32 are taken.
            seed: decides which images these are.
            compute: device, if another than that of all images.
        """
        size = min(batch_size, self._at_once, len(self.train))
        loader = self._plain_loader(self.train, size, compute, seed=seed)
        return loader.calibration_batches(min(batches, len(self.train) // size))

    def calibration_of(self, count: int, compute: Compute | None = None) -> Sequence[Tensor]:
        """Return equal batches of about ``count`` training images, or of all, to take batch-norm statistics from.

        Which ones follows from the seed.
        """
        count = min(count, len(self.train))
        batches = -(-count // self._at_once)  # equal batches, so that 700 images are two of 350
        return self.calibration(batches, count // batches, seed=self.seed, compute=compute)

    def _plain_loader(
        self, images: ImageSet, batch_size: int, compute: Compute | None, *, seed: int = 0, side: int | None = None
    ) -> Loader:
        key = images, batch_size, seed, side, compute or self.compute
        if key not in self._plain_loaders:
            made = self._loader(images, batch_size, NO_AUGMENTATION, seed=seed, compute=key[-1], side=side)
            self._plain_loaders[key] = made
        return self._plain_loaders[key]

    def _loader(
        self,
        images: ImageSet,
        batch_size: int,
        augmentation: Augmentation,
        *,
        seed: int,
        compute: Compute,
        side: int | None = None,
    ) -> Loader:
        workers = self.config.workers
        return Loader(
            images,
            batch_size=batch_size,
            normalization=self.normalization,
            augmentation=augmentation,
            image_size=side or self.config.image_size,
            crop_pct=self.config.crop_pct,
            seed=seed,
            compute=compute,
            workers=choose_workers(images, compute.device) if workers is None else workers,
        )

    def _load_both(self) -> None:
        for split in SPLITS:
            self._load(split)

    def _load_train(self) -> ImageSet:
        """Return the training images; where some of them are bad, it is told with the test images that are."""
        try:
            return self._load("train")
        except BadImageError as error:
            problems = [str(error)]
            try:
                self._look_at(self._load("test"))
            except BadImageError as others:
                problems += [] if str(others) in problems else [str(others)]
            raise BadImageError("\n".join(problems)) from error

    def _same(self, images: ImageSet, split: SplitName) -> ImageSet:
        """Return the images of a split if they are those of before; where nothing is begun, record what they are."""
        if self._known is not None and self.compute.is_first and images.identity is not None:
            self._known.require_same(split, images.name, images.identity)
        return images

    def _load(self, split: SplitName, side: int | None = None, *, listed: bool = False) -> ImageSet:
        config = self.config if side is None else replace(self.config, image_size=side)
        with warnings.catch_warnings():
            if not self.compute.is_first:  # the first process says which images are left out
                warnings.simplefilter("ignore", UserWarning)
            return _loaded(config, split, self._task, self._channels, self._record, listed)


@lru_cache(maxsize=2)  # trainings that follow each other in one process mostly share their images
def _loaded(
    config: DataConfig, split: SplitName, task: TaskName, channels: int | None, record: Path | None, listed: bool
) -> ImageSet:
    return load_images(
        config.source,
        split,
        task=task,
        image_size=config.image_size,
        channels=channels,
        download=config.download,
        keep_encoded=listed or config.crop_pct < 1,
        on_bad_image=config.on_bad_image,
        workers=config.workers,
        record=record,
        ignore_index=config.ignore_index,
        classes=config.classes,
    )
