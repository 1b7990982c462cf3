"""Folders of images beside folders of masks."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch

from nasvit.data.box_list import measured, parts_of
from nasvit.data.encoded_masks import EncodedMasks
from nasvit.data.listed import Listed, fingerprint
from nasvit.data.mask_table import IGNORED, TABLES, MaskTable
from nasvit.data.mask_values import black_and_white, values_in
from nasvit.data.remarks import Remarks
from nasvit.data.roles import TESTS, Role, the_one
from nasvit.data.stores import FileStore, Names
from nasvit.data.targets import Masks
from nasvit.data.walking import folders_in, images_below

IMAGES, MASKS = "images", "masks"
"""Folders of the images and of their masks."""

UNUSED = "masks without an image (left out)"

_ENDS = ("", "_L")  # CamVid's own masks are called so


def has_masks(folder: Path) -> bool:
    """Return whether a folder has images and masks, each in a folder of its own."""
    return all((folder / _called(folder, kind)).is_dir() for kind in (IMAGES, MASKS))


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
    available = _parts(folder) if has_masks(folder) else {}
    if "train" not in available:
        raise ValueError(f"{name}: there is no images/train, or no folder masks beside images")
    remarks = Remarks()
    chosen, has_test_split = parts_of(available, split)
    pairs = [_pairs(folder, *available[part], remarks) for part in chosen]
    images, masks = (Names(path for part in pairs for path in part[side]) for side in (0, 1))
    if not len(images):
        raise ValueError(f"{name}: there are no images in {available[chosen[0]][0]}")
    table, of_train = _table(folder, ignore_index), available["train"][1]
    train = Names(_images(folder, of_train))
    if table is None:
        values = values_in(folder, train, f"{name}, {of_train}", record=record, workers=workers)
        table = _of_values(values, ignore_index, f"{folder}/{of_train}")
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


def _called(folder: Path, kind: str) -> str:
    """Return the name of the folder of images or of masks, in whatever case it is written."""
    found = [name for name in folders_in(folder) if name.lower() == kind] if folder.is_dir() else []
    return kind if kind in found or not found else found[0]


def _parts(folder: Path) -> dict[str, tuple[str, str]]:
    """Return where the images and the masks of every part are, from the folder; they may be called differently."""
    images, masks = (_called(folder, kind) for kind in (IMAGES, MASKS))
    inside, beside = folders_in(folder / images), folders_in(folder / masks)
    parts: dict[str, tuple[str, str]] = {}
    roles: tuple[Role, ...] = ("train", *TESTS)
    for role in roles:
        name = the_one(role, inside, str(folder / images))
        if name is not None:
            mask = name if name in beside else the_one(role, beside, str(folder / masks)) or name
            parts[role] = os.path.join(images, name), os.path.join(masks, mask)
    return parts


def _pairs(folder: Path, of_images: str, of_masks: str, remarks: Remarks) -> tuple[list[str], list[str]]:
    """Return the paths of images and of their masks, as they should be, from the folder."""
    masks = {_stem(path): path for path in _images(folder, of_masks)}
    images = _images(folder, of_images)
    beside = []
    for image in images:
        found = next((masks[key] for end in _ENDS if (key := _stem(image) + end) in masks), None)
        beside.append(found or os.path.join(of_masks, f"{_stem(image)}.png"))
    for mask in sorted({*masks.values()} - {*beside}):
        remarks.add(UNUSED, mask)
    return images, beside


def _images(folder: Path, part: str) -> list[str]:
    return sorted(os.path.join(part, path) for path in images_below(folder / part)) if (folder / part).is_dir() else []


def _stem(path: str) -> str:
    """Return what an image and its mask have in common: the path within their part, without the ending."""
    return os.path.splitext(os.path.join(*Path(path).parts[2:]))[0]


def _table(folder: Path, ignore_index: int | None) -> MaskTable | None:
    """Read the table of the classes, where there is one."""
    places = folder, folder / _called(folder, MASKS)
    found = next((path for name in TABLES for place in places if (path := place / name).is_file()), None)
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
