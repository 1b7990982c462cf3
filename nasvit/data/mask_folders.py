"""Folders of images beside folders of masks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets.folder import IMG_EXTENSIONS

from nasvit.data.box_list import Remarks, measured, parts_of
from nasvit.data.coco import NAMES
from nasvit.data.listed import Listed, fingerprint
from nasvit.data.mask_table import TABLES, EncodedMasks, MaskTable, values_of
from nasvit.data.stores import FileStore, Names
from nasvit.data.targets import Masks

UNUSED = "masks without an image (left out)"

_ENDS = ("", "_L")  # CamVid's own masks are called so


def has_masks(folder: Path) -> bool:
    """Return whether a folder has images and masks, each in a folder of its own."""
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def list_masks(folder: Path, name: str, split: str, ignore_index: int | None) -> Listed:
    """List one split of a folder with ``images/<part>`` and ``masks/<part>``.

    Args:
        folder: the folder; a table of its classes may lie in it.
        name: what to call the source before a user.
        split: ``train`` or ``test``.
        ignore_index: value of masks that is ignored, beside 255.

    Raises:
        ValueError: naming what is missing or wrong.
    """
    available = {part: found for part, names in NAMES.items() if (found := _folder(folder / "images", names))}
    if "train" not in available or not has_masks(folder):
        raise ValueError(f"{name}: there is no images/train, or no folder masks beside images")
    remarks = Remarks()
    chosen, has_test_split = parts_of(available, split)
    pairs = [_pairs(folder, available[part], remarks) for part in chosen]
    images, masks = (Names(path for part in pairs for path in part[side]) for side in (0, 1))
    if not len(images):
        raise ValueError(f"{name}: there are no images in images/{available[chosen[0]]}")
    table = _table(folder, available["train"], ignore_index)
    remarks.warn(name)
    store, beside = FileStore(folder, images), FileStore(folder, masks)
    lengths, _, bad = measured(store, [(1, 1)] * len(images))
    mask_lengths, sizes, bad_masks = measured(beside, [None] * len(masks))
    bad = {**{each: f"its mask {masks[each]}: {reason}" for each, reason in bad_masks.items()}, **bad}
    measures = np.column_stack([lengths, mask_lengths, sizes])
    mark = fingerprint(Names([*_all(images), *_all(masks)]), measures)
    targets = Masks(EncodedMasks(beside, np.arange(len(masks)), table), torch.from_numpy(sizes))
    validation = np.arange(len(pairs[0][0]), len(images)) if len(pairs) > 1 else None
    note = f"masks {folder.name}"
    return Listed(
        store, targets, table.classes, note, has_test_split, bad, fingerprint=mark, sizes=sizes, validation=validation
    )


def _folder(parent: Path, names: Sequence[str]) -> str:
    return next((name for name in names if (parent / name).is_dir()), "")


def _pairs(folder: Path, part: str, remarks: Remarks) -> tuple[list[str], list[str]]:
    """Return the paths of images and of their masks, as they should be, from the folder."""
    masks = {_stem(path): path for path in _images(folder, "masks", part)}
    images = _images(folder, "images", part)
    beside = []
    for image in images:
        found = next((masks[key] for end in _ENDS if (key := _stem(image) + end) in masks), None)
        beside.append(found or os.path.join("masks", part, f"{_stem(image)}.png"))
    for mask in sorted({*masks.values()} - {*beside}):
        remarks.add(UNUSED, mask)
    return images, beside


def _images(folder: Path, kind: str, part: str) -> list[str]:
    below = folder / kind / part
    found = (path for path in below.rglob("*") if path.name.lower().endswith(IMG_EXTENSIONS) and path.name[0] != ".")
    return sorted(os.path.join(kind, part, path.relative_to(below)) for path in found)


def _stem(path: str) -> str:
    """Return what an image and its mask have in common: the path within their part, without the ending."""
    return os.path.splitext(os.path.join(*Path(path).parts[2:]))[0]


def _table(folder: Path, train: str, ignore_index: int | None) -> MaskTable:
    """Read the table of the classes; without one they are the values that the masks of the training part have."""
    found = next((path for name in TABLES for path in (folder / name, folder / "masks" / name) if path.is_file()), None)
    if found is not None:
        return MaskTable.of_file(found, ignore_index)
    masks = FileStore(folder, Names(_images(folder, "masks", train)))
    ignored = {255, ignore_index}
    highest = max((value for each in values_of(masks) for value in each.tolist() if value not in ignored), default=-1)
    names = [str(value) for value in range(highest + 1)]
    return MaskTable.of_names(names, ignore_index, f"the masks of masks/{train} (no classes.txt says otherwise)")


def _all(names: Names) -> list[str]:
    return [names[each] for each in range(len(names))]
