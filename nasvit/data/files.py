"""Labeled images in files: folders of class folders, tar files, and folders with parts for training and testing."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from nasvit.data.hub import list_parquet, one_train_set
from nasvit.data.listed import TEST_NAMES, Listed, file_size, fingerprint
from nasvit.data.stores import FileStore, Names
from nasvit.data.tars import list_tars

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_BRACES = "ranges are written as in shard-{000..127}.tar"


def list_folder(folder: Path, split: str) -> Listed:
    """List one split of a folder, whatever its layout (``nasvit.data.load_images`` lists the layouts).

    Args:
        folder: an existing folder.
        split: ``train`` or ``test``; a folder without splits is listed as a whole.

    Raises:
        ValueError: if the folder has no known layout, the split is missing, or its classes are not those of ``train``.
    """
    if one_train_set(folder, "train-*.parquet"):
        return list_parquet(folder, split)
    train = _part(folder, "train")
    if not train:
        return _list_class_folders(folder, has_test_split=False)
    tested = next((part for name in TEST_NAMES if (part := _part(folder, name))), None)
    if tested is None:
        raise ValueError(
            f"{folder}: there is {train[0].name} but none of {', '.join(TEST_NAMES)} (folder or .tar) beside it; add "
            "one, or name the training images themselves, of which a fifth is held out for testing"
        )
    listed = _list_part(train if split == "train" else tested)
    return listed if split == "train" else _with_classes_of(train, listed, tested)


def expand(pattern: str) -> list[Path]:
    """Return the files of a pattern with ranges such as ``shard-{000..127}.tar``, or with stars.

    Raises:
        ValueError: if one of them does not exist, or a range is written wrongly.
    """
    found = _RANGE.search(pattern)
    if found is not None:
        first, last = found.groups()
        if int(first) > int(last):
            raise ValueError(f"data source {pattern!r}: the range {found.group()} is empty; {_BRACES}")
        numbers = (f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1))
        return [path for each in numbers for path in expand(pattern[: found.start()] + each + pattern[found.end() :])]
    path = Path(pattern)
    paths = sorted(path.parent.glob(path.name)) if "*" in path.name else [path]
    missing = [str(each) for each in paths or [path] if not each.is_file()]
    if missing:
        braces = f"; {_BRACES}" if "{" in pattern else ""
        raise ValueError(f"data source: no such file {missing[0]!r}{braces}")
    return paths


def _part(folder: Path, name: str) -> list[Path]:
    whole = [path for path in (folder / name, folder / f"{name}.tar") if path.exists()]
    return whole[:1] or sorted(folder.glob(f"{name}-*.tar"))


def _list_part(part: list[Path]) -> Listed:
    if part[0].suffix == ".tar":
        return list_tars(part, has_test_split=True)
    return _list_class_folders(part[0], has_test_split=True)


def _with_classes_of(train: list[Path], listed: Listed, tested: list[Path]) -> Listed:
    expected = list_tars(train).classes if train[0].suffix == ".tar" else _class_names(train[0])
    if listed.numbered and len(listed.classes) <= len(expected):
        return replace(listed, classes=expected)  # of the last classes there may be no image
    if listed.classes != expected:
        raise ValueError(
            f"{tested[0]} does not have the classes of {train[0]}: "
            f"different are {sorted(set(listed.classes) ^ set(expected))}"
        )
    return listed


def _list_class_folders(folder: Path, *, has_test_split: bool) -> Listed:
    classes = _class_names(folder)
    paths, targets, sizes, bad = Names(), array("q"), array("q"), {}
    for index, name in enumerate(classes):
        for path in _images_below(folder, name):
            size, reason = file_size(os.path.join(folder, path))
            if reason:
                bad[len(paths)] = reason
            paths.append(path)
            targets.append(index)
            sizes.append(size)
    counts = np.bincount(np.array(targets, dtype=np.int64), minlength=len(classes))
    without = [name for name, count in zip(classes, counts) if count == 0]
    if without or not classes:
        found = f"no image for the classes {', '.join(without)}" if without else "there is no class folder in it"
        raise ValueError(
            f"{folder}: not one folder of images per class ({found}); nor has it train and test folders, train.tar and "
            "test.tar, train-*.tar and test-*.tar, or train-*.parquet and test-*.parquet"
        )
    note = f"image folder {folder.name}"
    store, lengths = FileStore(folder, paths), np.array(sizes, dtype=np.int64)
    labels, mark = np.array(targets, dtype=np.int64), fingerprint(paths, lengths)
    return Listed(store, labels, classes, note, has_test_split, bad, fingerprint=mark, names=paths, lengths=lengths)


def _class_names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."))


def _images_below(folder: Path, name: str) -> Iterator[str]:
    """Yield the paths of a class from ``folder``, in the order of torchvision's ImageFolder."""
    for where, _, names in sorted(os.walk(folder / name, followlinks=True)):
        below = os.path.relpath(where, folder)
        if f"{os.sep}." in below:
            continue
        for each in sorted(names):
            if each[0] != "." and each.lower().endswith(IMG_EXTENSIONS):
                yield os.path.join(below, each)
