"""Sources of images: load one split of a data set from its name or path."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nasvit.data.annotated import TaskName, list_annotated, task_of
from nasvit.data.bad import BadImageError, OnBadImage, judge
from nasvit.data.check import bad_heads, remember, remembered_bad
from nasvit.data.class_names import Classes
from nasvit.data.config import ImageSize, height_and_width, refuse_pair
from nasvit.data.decoding import shown
from nasvit.data.files import expand, list_folder
from nasvit.data.holding import hold
from nasvit.data.hub import list_hub
from nasvit.data.identity import Identity
from nasvit.data.images import MEMORY_LIMIT, EncodedImages, ImageSet, centers, from_pixels, to_image, to_pixels
from nasvit.data.listed import Listed
from nasvit.data.masked import with_masks
from nasvit.data.splits import held_out_indices
from nasvit.data.stores import MemoryStore
from nasvit.data.tars import list_tars
from search_spaces.paths import expanded, unset

SplitName = Literal["train", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)

TEST_FRACTION = 0.2
"""Share of a source without a test split of its own that becomes its test split."""

_TEST_SEED = 0  # A constant: the test images must be the same in every run, whatever the seed of the run.
_MOST_NAMED = 10
_TORCHVISION = "torchvision:"
_HUB = "hf:"
_MIRROR_CHANGES_CLASS = ("MNIST", "KMNIST", "QMNIST", "EMNIST", "SVHN", "USPS", "Omniglot", "GTSRB")


@dataclass(frozen=True)
class Reading:
    """Options for reading the images of a source.

    Args:
        image_size: side in pixels that every image is brought to, or height and width; None to keep the stored sizes.
        channels: 1 or 3; None: those of the source.
        root: folder of the torchvision data sets.
        download: let torchvision download missing data sets.
        memory_limit: decoded bytes up to which a set is held in memory.
        keep_encoded: leave the images of files encoded in any case.
        on_bad_image: what to do with images of files that cannot be decoded.
        workers: processes that look for these.
        record: file that remembers those that were found.
    """

    image_size: ImageSize = None
    channels: int | None = None
    root: str | Path = "data"
    download: bool = False
    memory_limit: int = MEMORY_LIMIT
    keep_encoded: bool = False
    on_bad_image: OnBadImage = "stop"
    workers: int | None = None
    record: Path | None = None


def load_images(
    source: str | Path,
    split: SplitName = "train",
    *,
    task: TaskName = "classification",
    image_size: ImageSize = None,
    channels: int | None = None,
    root: str | Path = "data",
    download: bool = False,
    memory_limit: int = MEMORY_LIMIT,
    keep_encoded: bool = False,
    on_bad_image: OnBadImage = "stop",
    workers: int | None = None,
    record: Path | None = None,
    ignore_index: int | None = None,
    classes: Classes = "equal",
) -> ImageSet:
    """Load one split of a data set; images of files that do not fit in memory are listed and read when used.

    Args:
        source: ``digits`` (8 x 8 gray, inside scikit-learn), ``torchvision:<class>`` (such as ``torchvision:CIFAR10``),
            ``hf:<name or folder>`` (a Hugging Face data set; ``hf:<name>:<configuration>`` where it has several), or a
            path: a folder with ``train`` and ``val`` or ``test`` inside (folders of one folder per class, or tar files:
            ``train.tar``, or several as ``train-*.tar``), a folder of one folder per class or tar files such as
            ``shards-{000..127}.tar`` (a fifth of them becomes the test split), or a folder with ``train-*.parquet``
            and ``test-*.parquet`` in the Hugging Face layout. Tar files hold one folder per class, or samples as
            WebDataset's shards do (``0001.jpg`` and ``0001.cls``). Hidden files are no images. With boxes:
            ``coco:<folder>`` with ``annotations/instances_train.json`` or the like, ``voc:<folder>``,
            ``yolo:<folder or YAML file>``. With masks: a folder with ``images/train`` and ``masks/train``
            (``masks:<folder>``); ``classes.txt`` in it says what values or colors mean, one class a line: ``name`` or
            ``R G B name``. ``val`` of these is the test split where there is no ``test``, else it is set apart.
        split: ``train`` or ``test``.
        task: what the images are for, which decides what their targets are.
        image_size: side in pixels that every image is brought to: the short side is resized, the center cut out. With
            boxes or masks, also height and width: the image is fitted inside, at the top left, and the rest is gray.
            None keeps the stored sizes.
        channels: 1 (gray) or 3; None: those of the source.
        root: folder of the torchvision data sets.
        download: let torchvision download missing data sets.
        memory_limit: most decoded bytes of a set, of one image size, that is held in memory.
        keep_encoded: leave the images of files encoded in any case, so that evaluation can resize them otherwise.
        on_bad_image: ``stop`` at images of files that cannot be decoded, when they are found; ``skip`` decodes all at
            once and leaves those out, before splits are drawn, with a warning.
        workers: processes that decode all images to ``skip`` bad ones; None: the processors that there are.
        record: JSON file that remembers the bad ones to ``skip``, so that images are decoded for that only once; None:
            they are decoded at every call. Beside it ``mask_values.json`` remembers the values of masks without table.
        ignore_index: value of masks that is ignored, beside 255.
        classes: ``equal`` refuses splits with other classes than the training images, or none of some; ``from train``
            goes on with the classes that these have.

    Raises:
        ValueError: if the source is unknown or not laid out as said above, or an argument is out of its range.
        BadImageError: if images are known to be bad and not to be left out.
        ImportError: if parquet files or a Hugging Face data set are to be read and ``datasets`` is not installed.
    """
    source = expanded(str(source))
    if split not in ("train", "test"):
        raise ValueError(f"split {split!r}: legal are 'train' and 'test' (validation is held out of 'train')")
    if on_bad_image not in ("stop", "skip"):
        raise ValueError(f"on_bad_image {on_bad_image!r}: legal are 'stop' and 'skip'")
    if task not in get_args(TaskName):
        raise ValueError(f"task {task!r}: legal are {', '.join(get_args(TaskName))}")
    reading = Reading(image_size, channels, root, download, memory_limit, keep_encoded, on_bad_image, workers, record)
    if task != "classification":
        listed = list_annotated(source, split, task, ignore_index, classes, record=record, workers=workers)
        return _from_files(source, split, listed, reading)
    if task_of(source) != task:
        raise ValueError(f"data source {source!r}: is for {task_of(source)}, not for {task}; set the task")
    refuse_pair(image_size, source)
    if source == "digits":
        return _digits(split, reading)
    if source.startswith(_TORCHVISION):
        return _from_torchvision(source, split, reading)
    listed = _list(source, split, classes)
    if len(listed.classes) < 2:
        raise ValueError(f"{source}: all its images are of one class, {listed.classes[0]}; at least two are needed")
    return _from_files(source, split, listed, reading)


def _list(source: str, split: SplitName, rule: Classes) -> Listed:
    if source.startswith(_HUB):
        return list_hub(source.removeprefix(_HUB), split, rule)
    path = Path(source)
    if path.is_dir():
        return list_folder(path, split, rule)
    if path.suffix == ".tar" and (path.is_file() or "{" in source or "*" in source):
        return list_tars([path] if path.is_file() else expand(str(path)))
    raise ValueError(
        f"data source {source!r}: no such folder or tar file; legal are 'digits', 'torchvision:<class>', "
        f"'hf:<name or folder>' and the path of a folder, or of tar files that are not compressed{unset(source)}"
    )


def _digits(split: SplitName, reading: Reading) -> ImageSet:
    from sklearn.datasets import load_digits  # takes long

    data = load_digits()
    # Gray levels are 0 to 16; spread them over the whole byte.
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)[:, :, :, None]
    images = _brought(list(map(to_image, np.repeat(pixels, reading.channels or 1, axis=3))), "digits", reading)
    classes = tuple(str(name) for name in data.target_names)
    whole = ImageSet(
        images,
        torch.from_numpy(data.target.astype(np.int64)),
        classes,
        "digits",
        "scikit-learn digits, 8x8 grey",
        mirror_safe=False,
        identity=Identity.of_pixels(classes, data.target, lambda index: pixels[index].tobytes()),
    )
    return _part_without_test_split(whole, split)


def _brought(images: Sequence[Image.Image], source: str, reading: Reading) -> Tensor | EncodedImages:
    """Return images that are in memory at the size that is asked for; they are brought to it later where all at once do
    not fit in memory."""
    size, channels = height_and_width(reading.image_size), len(images[0].getbands())
    if size is not None and len(images) * channels * size[0] * size[1] > reading.memory_limit:
        return EncodedImages.of(MemoryStore(images, source), channels)
    brought = images if size is None else [centers(image, size) for image in images]
    if len({image.size for image in brought}) > 1:
        raise ValueError(f"data source {source!r}: its images differ in size; give image_size to bring them to one")
    return from_pixels(np.stack([to_pixels(image) for image in brought]))


def _part_without_test_split(whole: ImageSet, split: SplitName) -> ImageSet:
    kept, tested = held_out_indices(
        whole.targets, fraction=TEST_FRACTION, seed=_TEST_SEED, classes=whole.classes, name=whole.name
    )
    by_class = ", by class" if isinstance(whole.targets, Tensor) else ""
    note = f"{whole.note}; no test split of its own: {len(tested)} of {len(whole)} images held out for it{by_class}"
    return replace(whole.subset(kept if split == "train" else tested), note=note)


def _from_files(name: str, split: SplitName, listed: Listed, reading: Reading) -> ImageSet:
    images, targets, bad = _decoded_or_not(name, listed, reading)
    if bad and reading.on_bad_image == "stop" and reading.record is not None:
        remember(reading.record, listed.fingerprint, name, bad, len(listed.store), listed.store.name, heads=True)
    judge(bad, name, reading.on_bad_image, listed.store.name, reading.record)
    brought = f"; brought to {_size_in_words(reading.image_size)} pixels" if reading.image_size else ""
    whole = ImageSet(
        images,
        targets,
        listed.classes,
        name,
        listed.note + brought,
        listing=listed.fingerprint,
        validation=listed.validation,
        identity=Identity.of_listed(listed),
    )
    if bad:
        whole = _without(whole, bad)
    return whole if listed.has_test_split else _part_without_test_split(whole, split)


def _size_in_words(image_size: int | tuple[int, int]) -> str:
    return str(image_size) if isinstance(image_size, int) else f"{image_size[1]}x{image_size[0]}"


def _without(whole: ImageSet, bad: Mapping[int, str]) -> ImageSet:
    kept = np.setdiff1d(np.arange(len(whole)), np.fromiter(bad, dtype=np.int64))
    if not isinstance(whole.targets, Tensor):
        if not len(kept):
            raise BadImageError(f"{whole.name}: no good image is left; repair them")
        return whole.subset(kept)
    before, after = (np.unique(labels) for labels in (whole.targets.numpy(), whole.targets.numpy()[kept]))
    lost = [whole.classes[each] for each in np.setdiff1d(before, after)]
    if lost:
        named = ", ".join(lost[:_MOST_NAMED]) + (", ..." if len(lost) > _MOST_NAMED else "")
        raise BadImageError(f"{whole.name}: no good image is left of these classes; repair or remove them: {named}")
    return whole.subset(kept)


def _decoded_or_not(name: str, listed: Listed, reading: Reading) -> tuple[Tensor | EncodedImages, Any, dict[int, str]]:
    encoded = EncodedImages.of(listed.store, reading.channels or 3, listed.sizes)
    targets = torch.from_numpy(listed.targets) if isinstance(listed.targets, np.ndarray) else listed.targets
    held = None if reading.keep_encoded else hold(encoded, targets, reading.image_size, reading.memory_limit)
    if held is not None:
        return held.images, held.targets, {**held.bad, **listed.bad}
    if reading.on_bad_image == "stop":
        # What needs no look is told with what a look at all others shows.
        found = bad_heads(encoded, targets, "", name, known=listed.bad, workers=reading.workers) if listed.bad else {}
        return encoded, targets, found
    whole = with_masks(encoded, targets)
    return encoded, targets, remembered_bad(whole, listed, name, record=reading.record, workers=reading.workers)


def _from_torchvision(source: str, split: SplitName, reading: Reading) -> ImageSet:
    name = source.removeprefix(_TORCHVISION)
    import torchvision  # which takes seconds

    maker = getattr(torchvision.datasets, name, None)
    if not (inspect.isclass(maker) and issubclass(maker, torchvision.datasets.VisionDataset)):
        raise ValueError(
            f"data source {source!r}: torchvision.datasets has no data set {name!r} (names are case-sensitive)"
        )
    data, has_test_split = _open_torchvision(maker, name, split, reading)
    pairs = [data[index] for index in range(len(data))]
    targets = torch.tensor([int(target) for _, target in pairs], dtype=torch.int64)
    images = _stack([image for image, _ in pairs], source, reading)
    names: Sequence[str] = getattr(data, "classes", None) or [str(index) for index in range(int(targets.max()) + 1)]
    classes = tuple(str(name) for name in names)
    whole = ImageSet(
        images,
        targets,
        classes,
        source,
        f"torchvision {name}",
        mirror_safe=name not in _MIRROR_CHANGES_CLASS,
        identity=Identity.of_pixels(classes, targets.numpy(), lambda index: pairs[index][0].tobytes()),
    )
    return whole if has_test_split else _part_without_test_split(whole, split)


def _open_torchvision(maker: Callable[..., Any], name: str, split: SplitName, reading: Reading) -> tuple[Any, bool]:
    parameters = inspect.signature(maker).parameters
    arguments: dict[str, Any] = {"root": str(reading.root)}
    if "download" in parameters:
        arguments["download"] = reading.download
    if "train" in parameters:
        arguments["train"] = split == "train"
    elif "split" in parameters:
        arguments["split"] = split
    try:
        return maker(**arguments), "train" in parameters or "split" in parameters
    except (RuntimeError, FileNotFoundError, ValueError) as error:
        raise ValueError(
            f"torchvision could not open {name} under {str(reading.root)!r}: {str(error).rstrip('.')}; put the files "
            "there, or allow the download (download: true)"
        ) from error


def _stack(images: list[Any], source: str, reading: Reading) -> Tensor | EncodedImages:
    channels = reading.channels or (1 if images[0].mode == "L" else 3)
    return _brought([shown(image, channels) for image in images], source, reading)
