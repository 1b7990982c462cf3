"""Folders of images beside folders of masks."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets.folder import IMG_EXTENSIONS

from nasvit.data.box_list import Remarks, measured, parts_of
from nasvit.data.coco import NAMES
from nasvit.data.encoded_masks import EncodedMasks
from nasvit.data.listed import Listed, fingerprint
from nasvit.data.mask_table import IGNORED, TABLES, MaskTable
from nasvit.data.mask_values import black_and_white, values_in
from nasvit.data.stores import FileStore, Names
from nasvit.data.targets import Masks

UNUSED = "masks without an image (left out)"

_ENDS = ("", "_L")  # CamVid's own masks are called so


def has_masks(folder: Path) -> bool:
    """Return whether a folder has images and masks, each in a folder of its own."""
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


def list_masks(
    folder: Path,
    name: str,
    split: str,
    ignore_index: int | None,
    *,
    record: Path | None = None,
    workers: int | None = None,
) -> Listed:
    """List one split of a folder with ``images/<part>`` and ``masks/<part>``.

    Args:
        folder: the folder; a table of its classes may lie in it.
        name: what to call the source before a user.
        split: ``train`` or ``test``.
        ignore_index: value of masks that is ignored, beside 255.
        record: file that remembers the values of masks where no table says them; None: there is none.
        workers: processes that look for these; None: the processors that there are.

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
    table = _table(folder, ignore_index)
    train = Names(_images(folder, "masks", available["train"]))
    if table is None:
        values = values_in(folder, train, f"{name}, masks/{available['train']}", record=record, workers=workers)
        table = _of_values(values, ignore_index, f"{folder}/masks/{available['train']}")
    elif table.colors is None and black_and_white(FileStore(folder, train)):
        _warn_of_white(name, table)
    remarks.warn(name)
    store, beside = FileStore(folder, images), FileStore(folder, masks)
    lengths, _, bad = measured(store, [(1, 1)] * len(images))
    mask_lengths, sizes, bad_masks = measured(beside, [None] * len(masks))
    bad = {**{each: f"its mask {masks[each]}: {reason}" for each, reason in bad_masks.items()}, **bad}
    measures = np.column_stack([lengths, mask_lengths, sizes])
    # The table belongs to it: which masks are bad depends on what it has.
    told = hashlib.sha256(table.content()).hexdigest()
    mark = fingerprint(Names([*_all(images), *_all(masks), told]), measures)
    targets = Masks(EncodedMasks(beside, np.arange(len(masks)), table), torch.from_numpy(sizes))
    validation = np.arange(len(pairs[0][0]), len(images)) if len(pairs) > 1 else None
    note = f"masks {folder.name}"
    return Listed(
        store,
        targets,
        table.classes,
        note,
        has_test_split,
        bad,
        fingerprint=mark,
        sizes=sizes,
        validation=validation,
        names=images,
        lengths=lengths,
        beside=fingerprint(Names([*_all(masks), told]), np.column_stack([mask_lengths, sizes])),
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


def _table(folder: Path, ignore_index: int | None) -> MaskTable | None:
    """Read the table of the classes, where there is one."""
    found = next((path for name in TABLES for path in (folder / name, folder / "masks" / name) if path.is_file()), None)
    return None if found is None else MaskTable.of_file(found, ignore_index)


def _warn_of_white(name: str, table: MaskTable) -> None:
    warnings.warn(
        f"{name}: its first masks hold the values 0 and {IGNORED} only, and {IGNORED} is ignored, for {table.origin} "
        "has no colors; if it means objects, write one class a line as R G B name: 0 0 0 background, and "
        "255 255 255 object",
        stacklevel=2,
    )


def _of_values(values: Collection[int], ignore_index: int | None, masks: str) -> MaskTable:
    """Return the table of masks that have none: their classes are the values from 0 to the highest one."""
    highest = max({*values} - {IGNORED, ignore_index}, default=-1)
    names = [str(value) for value in range(highest + 1)]
    table = MaskTable.of_names(names, ignore_index, f"the masks of {masks} (no classes.txt says otherwise)")
    if len(table.classes) == 1:
        found = ", ".join(map(str, sorted(values)))
        raise ValueError(
            f"{masks}: its masks have the values {found}, and that is a single class, {table.classes[0]}, with which "
            f"nothing can be learned; without a table {IGNORED} means pixels that are ignored. If it means objects, "
            "write a file classes.txt beside the folder of masks, with one class a line, R G B name: "
            "0 0 0 background, and 255 255 255 object"
        )
    return table


def _all(names: Names) -> list[str]:
    return [names[each] for each in range(len(names))]
