"""Images with boxes as the readers of annotations find them, checked and gathered into the targets of a set."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from nasvit.data.bad import reason_of
from nasvit.data.class_names import Classes
from nasvit.data.decoding import shown_size
from nasvit.data.listed import Listed, file_size, fingerprint
from nasvit.data.remarks import Remarks
from nasvit.data.stores import FileStore, Names, open_file
from nasvit.data.targets import Boxes

TEST_PARTS = ("test", "val")
"""Parts that can be the test split; where both exist, the second is set apart for validation."""

NO_AREA = "boxes without any area inside of their image (left out)"
OTHER_CLASSES = "boxes of classes that the training part does not have (left out)"
TWICE = "boxes that an image has twice (kept)"


class Object(NamedTuple):
    """One annotated box.

    Args:
        label: class index.
        box: x1, y1, x2, y2 in pixels of the stored image.
        area: the annotation's own area; None: that of the box.
        crowd: whether it is around a crowd.
        name: what to call the annotation before a user.
    """

    label: int
    box: tuple[float, float, float, float]
    area: float | None
    crowd: bool
    name: str


class Picture(NamedTuple):
    """One image and its boxes.

    Args:
        path: the image, from the folder of the source.
        size: height and width by its annotations; None: only its file tells.
        objects: its boxes.
    """

    path: str
    size: tuple[int, int] | None
    objects: Sequence[Object]


@dataclass(frozen=True)
class BoxSource:
    """A folder of images with boxes.

    Args:
        folder: the folder that the paths of the images start from.
        classes: name of every class index.
        parts: reads the images of each part: ``train``, ``val``, ``test``; boxes of classes that ``train`` has not
            are refused, or left out where classes are those ``from train``.
        note: description of the source.
    """

    folder: Path
    classes: tuple[str, ...]
    parts: Mapping[str, Callable[[Remarks, Classes], list[Picture]]]
    note: str


def parts_of(available: Mapping[str, object], split: str) -> tuple[list[str], bool]:
    """Return the parts that a split is made of, and whether there is a part for testing at all.

    ``test`` is the test split, or ``val`` where there is no ``test``. Where both exist, ``val`` belongs to the training
    images, of which it is set apart for validation.
    """
    tests = [name for name in TEST_PARTS if name in available]
    if split == "test" and tests:
        return tests[:1], True
    return ["train", *tests[1:]], bool(tests)


def list_boxes(source: BoxSource, name: str, split: str, rule: Classes = "equal") -> Listed:
    """List one split of a source of images with boxes, with one warning of all that is odd.

    Args:
        source: the source.
        name: what to call it before a user.
        split: ``train`` or ``test``.
        rule: whether other classes than those of the training part are refused, or left out.
    """
    remarks = Remarks()
    names, has_test_split = parts_of(source.parts, split)
    parts = [source.parts[each](remarks, rule) for each in names]
    pictures = [picture for part in parts for picture in part]
    if not pictures:
        raise ValueError(f"{name}: there are no images in its {names[0]} part")
    paths = Names(picture.path for picture in pictures)
    store = FileStore(source.folder, paths)
    lengths, sizes, bad = measured(store, [picture.size for picture in pictures])
    boxes = _gathered(pictures, sizes, remarks)
    remarks.warn(name)
    mark = fingerprint(paths, np.column_stack([lengths, sizes]))
    validation = np.arange(len(parts[0]), len(pictures)) if len(parts) > 1 else None
    return Listed(
        store,
        boxes,
        source.classes,
        source.note,
        has_test_split,
        bad,
        fingerprint=mark,
        sizes=sizes,
        validation=validation,
        names=paths,
        lengths=lengths,
    )


def measured(
    store: FileStore, known: Sequence[tuple[int, int] | None]
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int, int], np.dtype[np.int64]], dict[int, str]]:
    """Measure files of images.

    Args:
        store: the files.
        known: height and width where something else tells them; of the others the head of the file is read.

    Returns:
        Bytes of every file (N,), height and width (N, 2), and by number why an image is bad.
    """
    lengths = np.zeros(len(store), dtype=np.int64)
    sizes = np.ones((len(store), 2), dtype=np.int64)
    bad = {}
    for number, size in enumerate(known):
        lengths[number], reason = file_size(store.name(number))
        try:
            sizes[number] = size or (header_size(store.name(number)) if not reason else (1, 1))
        except Exception as error:  # what decoders raise for broken files is of every kind
            reason = reason_of(error)
        if reason:
            bad[number] = reason
    return lengths, sizes, bad


def header_size(path: str) -> tuple[int, int]:
    """Return height and width of an image file in pixels, as it is shown, from its head."""
    with open_file(path) as file, Image.open(file) as image:
        return shown_size(image)


def _gathered(
    pictures: Sequence[Picture], sizes: np.ndarray[tuple[int, int], np.dtype[np.int64]], remarks: Remarks
) -> Boxes:
    kept = [_checked(picture, size, remarks) for picture, size in zip(pictures, sizes.tolist())]
    flat = [each for objects in kept for each in objects]
    return Boxes(
        torch.tensor([each.box for each in flat], dtype=torch.float32).view(-1, 4),
        torch.tensor([each.label for each in flat], dtype=torch.int64),
        torch.tensor([each.crowd for each in flat], dtype=torch.bool),
        torch.tensor([_area(each) for each in flat], dtype=torch.float32),
        torch.from_numpy(np.cumsum([0, *map(len, kept)], dtype=np.int64)),
        torch.from_numpy(sizes),
    )


def _checked(picture: Picture, size: Sequence[int], remarks: Remarks) -> list[Object]:
    """Return the boxes of an image, cut at its edges; those of which nothing is left are noted and left out."""
    kept: list[Object] = []
    seen = set()
    for each in picture.objects:
        where = f"{each.name} of {picture.path}"
        if not all(map(math.isfinite, each.box)):
            raise ValueError(f"{where}: its box {each.box} has numbers that are not finite; repair or remove it")
        x1, y1, x2, y2 = each.box
        box = max(0.0, x1), max(0.0, y1), min(float(size[1]), x2), min(float(size[0]), y2)
        if box[2] <= box[0] or box[3] <= box[1]:
            remarks.add(NO_AREA, where)
            continue
        if (each.label, each.box) in seen:
            remarks.add(TWICE, where)
        seen.add((each.label, each.box))
        kept.append(each._replace(box=box))
    return kept


def _area(each: Object) -> float:
    x1, y1, x2, y2 = each.box
    return (x2 - x1) * (y2 - y1) if each.area is None else each.area


def below(folder: Path, path: str | Path) -> str:
    """Return a path as it is written from a folder."""
    return os.path.relpath(path, folder)
