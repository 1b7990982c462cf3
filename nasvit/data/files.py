"""Labeled images in files: folders of class folders, tar files, and folders with parts for training and testing."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from nasvit.data.class_names import WAY_OUT, Classes, few, looks_the_same, matched
from nasvit.data.hub import list_parquet, one_train_set
from nasvit.data.listed import Listed, file_size, fingerprint
from nasvit.data.remarks import Remarks
from nasvit.data.roles import TESTS, Role, is_plain, role_of, the_one
from nasvit.data.stores import FileStore, Indices, Names
from nasvit.data.tars import list_tars
from nasvit.data.walking import ends_like_image, folders_in, images_below, is_hidden

LAYOUTS = (
    "legal are one folder of images for each class; folders such as train and val with these inside; train.tar and "
    "val.tar, or several as train-*.tar; or train-*.parquet and test-*.parquet"
)

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_BRACES = "ranges are written as in shard-{000..127}.tar"
_ALL = ("images", "imgs", "data")  # what a folder of all class folders of a part may be called
_SHARD = re.compile(r"[-_.]?\d*\.tar$")


def list_folder(folder: Path, split: str, rule: Classes = "equal") -> Listed:
    """List one split of a folder, whatever its layout (``nasvit.data.load_images`` lists the layouts).

    Args:
        folder: an existing folder.
        split: ``train`` or ``test``; a folder without splits is listed as a whole.
        rule: whether all splits must have the same classes, with images in each.

    Raises:
        ValueError: if the folder has no known layout, the split is missing, or its classes are not those of ``train``.
    """
    if one_train_set(folder, "train-*.parquet"):
        return list_parquet(folder, split, rule)
    parts, remarks = _parts(folder), Remarks()
    if not parts:
        listed = _list_class_folders(folder, rule, remarks, has_test_split=False)
    else:
        train = parts["train"]
        tested = _tested(folder, parts)
        if split == "train":
            _remark_unused(folder, parts, tested, remarks)
        listed = _list_part(train, rule, remarks) if split == "train" else _list_test(train, tested, rule, remarks)
    remarks.warn(str(folder))
    return listed


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


def _parts(folder: Path) -> dict[Role, list[Path]]:
    """Return the parts of a folder for training and testing, each a folder or tar files; nothing if it has none.

    Raises:
        ValueError: if it has parts, and none for training, or several.
    """
    folders, tars = folders_in(folder), _tars(folder)
    if not _has_parts(folder, folders, tars):
        return {}
    parts: dict[Role, list[Path]] = {}
    for role in ("train", *TESTS):
        name = the_one(role, {*folders, *tars}, str(folder))
        if name is not None:
            parts[role] = [_inner(folder / name)] if name in folders else tars[name]
    if "train" not in parts:
        named = " and ".join(each[0].name for each in parts.values())
        raise ValueError(f"{folder}: there is {named}, but no part for training; call it train")
    return parts


def _tars(folder: Path) -> dict[str, list[Path]]:
    """Return the tar files of a folder that are called like parts; shards of one together, under what they share."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.tar")):
        name = _SHARD.sub("", path.name)
        if role_of(name) and not is_hidden(path.name):
            found.setdefault(name, []).append(path)
    whole = {name: folder / f"{name}.tar" for name in found}
    return {name: [whole[name]] if whole[name] in paths else paths for name, paths in found.items()}


def _has_parts(folder: Path, folders: Sequence[str], tars: dict[str, list[Path]]) -> bool:
    """Whether what is called like a part is one: a class may be called train too, among others that are not."""
    if any(role_of(name) == "train" for name in tars):
        return True
    roles = {name: role for name in folders if (role := role_of(name))}
    if "train" in roles.values() and any(role == "train" and folders_in(folder / name) for name, role in roles.items()):
        return True
    plain = {roles[name] for name in roles if is_plain(name)}
    alone = len(roles) == len(folders) and len(set(roles.values())) > 1
    return alone or ("train" in plain and len(plain) > 1)


def _inner(part: Path) -> Path:
    """Return the folder of the classes of a part: there are ``seg_train/seg_train`` and ``train/images``."""
    inside = folders_in(part)
    called_so = len(inside) == 1 and (inside[0].lower() in _ALL or role_of(inside[0]) == role_of(part.name))
    return part / inside[0] if called_so else part


def _tested(folder: Path, parts: dict[Role, list[Path]]) -> list[Path]:
    """Return the part for testing: the first that has classes, as images for competitions often have none."""
    found = [parts[role] for role in TESTS if role in parts]
    labeled = [part for part in found if part[0].suffix == ".tar" or folders_in(part[0])]
    if not found:
        raise ValueError(
            f"{folder}: there is {parts['train'][0].name} but none of test, val, validation (folder or .tar) beside "
            "it; add one, or name the training images themselves, of which a fifth is held out for testing"
        )
    return (labeled or found)[0]


def _remark_unused(folder: Path, parts: dict[Role, list[Path]], tested: list[Path], remarks: Remarks) -> None:
    """Note what lies beside the parts, and labeled images of a part that neither split is made of."""
    _remark_loose(folder, remarks)
    for part in parts.values():
        if part not in (parts["train"], tested) and (part[0].suffix == ".tar" or folders_in(part[0])):
            remarks.add(f"parts beside {tested[0].name} (left out)", str(part[0]))


def _list_part(part: Sequence[Path], rule: Classes, remarks: Remarks) -> Listed:
    if part[0].suffix == ".tar":
        return list_tars(part, has_test_split=True, remarks=remarks)
    return _list_class_folders(part[0], rule, remarks, has_test_split=True)


def _list_test(train: Sequence[Path], tested: Sequence[Path], rule: Classes, remarks: Remarks) -> Listed:
    """List the part for testing, with the classes of the part for training."""
    if train[0].suffix == ".tar":
        expected = list_tars(train, remarks=Remarks()).classes  # warned of where they are listed
    else:
        expected = tuple(
            name for name in folders_in(train[0]) if rule == "equal" or next(_images_of(train[0], name), None)
        )
    where = f"{tested[0]} beside {train[0]}"
    if tested[0].suffix == ".tar":
        return list_tars(tested, has_test_split=True, remarks=remarks, expected=expected, rule=rule, where=where)
    return _list_class_folders(tested[0], rule, remarks, has_test_split=True, expected=expected, where=where)


def _list_class_folders(
    folder: Path,
    rule: Classes,
    remarks: Remarks,
    *,
    has_test_split: bool,
    expected: Sequence[str] | None = None,
    where: str = "",
) -> Listed:
    names, inside = folders_in(folder, remarks), dict[str, set[str]]()
    paths, targets, sizes = Names(), array("q"), array("q")
    for index, name in enumerate(names):
        for path in _images_of(folder, name, remarks):
            paths.append(path)
            targets.append(index)
            if path.count(os.sep) > 1:
                inside.setdefault(name, set()).update(path.split(os.sep)[1:-1])
    counts = np.bincount(np.array(targets, dtype=np.int64), minlength=len(names)).tolist()
    if expected is None:
        _check_depth(folder, [name for name, count in zip(names, counts) if count], inside, remarks)
    classes, numbers = _classes(folder, names, counts, rule, remarks, expected, where)
    labels = numbers[np.array(targets, dtype=np.int64)]
    if (labels < 0).any():
        kept = np.flatnonzero(labels >= 0)
        paths, labels = Names(paths[each] for each in kept.tolist()), labels[kept]
    _remark_loose(folder, remarks)
    bad = {}
    for number in range(len(paths)):
        size, reason = file_size(os.path.join(folder, paths[number]))
        if reason:
            bad[number] = reason
        sizes.append(size)
    note = f"image folder {folder.name}"
    store, lengths = FileStore(folder, paths), np.array(sizes, dtype=np.int64)
    mark = fingerprint(paths, lengths)
    return Listed(store, labels, classes, note, has_test_split, bad, fingerprint=mark, names=paths, lengths=lengths)


def _classes(
    folder: Path,
    names: Sequence[str],
    counts: Sequence[int],
    rule: Classes,
    remarks: Remarks,
    expected: Sequence[str] | None,
    where: str,
) -> tuple[tuple[str, ...], Indices]:
    """Return the classes, and the class index of every folder, -1 of those that are left out.

    Args:
        folder: the folder of the class folders.
        names: their names.
        counts: their images.
        rule: whether all splits have the same classes.
        remarks: gets what is left out.
        expected: the classes of the training split, where this is the other one.
        where: what to call both splits before a user.

    Raises:
        ValueError: if there are no images, none of a class, or other classes.
    """
    filled = [place for place, count in enumerate(counts) if count]
    numbers = np.full(len(names), -1)
    if not filled:
        raise ValueError(f"{folder}: there is no class folder with images in it; {LAYOUTS}")
    if expected is not None:
        numbers[filled] = matched([names[place] for place in filled], expected, where, rule, remarks)
        return tuple(expected), numbers
    empty = [name for place, name in enumerate(names) if not counts[place]]
    if empty and rule == "equal":
        raise ValueError(f"{folder}: no image for the classes {few(empty)}; add some, remove these folders, {WAY_OUT}")
    for name in empty:
        remarks.add("class folders without images (left out)", name)
    numbers[filled] = np.arange(len(filled))
    classes = tuple(names[place] for place in filled)
    if alike := looks_the_same(classes):
        raise ValueError(
            f"{folder}: the names of {len(alike)} class folders look the same, {alike[0]}: letters are composed in "
            "several ways; join these folders, or rename one"
        )
    return classes, numbers


def _check_depth(folder: Path, classes: Sequence[str], inside: dict[str, set[str]], remarks: Remarks) -> None:
    """Refuse what is no level of classes.

    Args:
        folder: the folder of the class folders.
        classes: the names of those with images.
        inside: names of the folders below a class folder, where there are images in them.
        remarks: gets what looks odd.

    Raises:
        ValueError: if there is one class only, or there are splits inside of the classes.
    """
    split = [name for name in classes if _are_parts(inside.get(name, ()))]
    if len(split) > 1:
        parts = "has parts for training and testing in it; the parts come first, as in"
        raise ValueError(f"{folder}: each of {few(split)} {parts} train/{split[0]}")
    if split or len(classes) == 1:
        name = (split or classes)[0]
        deeper = _first_with_several(folder / name)
        if deeper is not None:
            found = few(folders_in(deeper))
            raise ValueError(f"{folder}: its classes or parts seem to lie deeper, {found}; give {deeper}")
        empty = [each for each in folders_in(folder) if each != name]
        besides = f", and none are in {few(empty)}" if empty else ""
        raise ValueError(f"{folder}: all its images are of one class, {name}{besides}; at least two are needed")
    same = inside.get(classes[0], set()) if classes else set()
    if len(same) > 1 and all(inside.get(name) == same for name in classes):
        remarks.add(f"folders that all have {few(sorted(same))} in them (taken for the classes)", few(classes))


def _are_parts(names: Iterable[str]) -> bool:
    """Whether folders are called like parts for training and testing."""
    roles = {*map(role_of, names)}
    return "train" in roles and not roles.isdisjoint(TESTS)


def _first_with_several(folder: Path) -> Path | None:
    """Return the first folder, itself or below, that has several in it."""
    inside = folders_in(folder)
    while len(inside) == 1:
        folder = folder / inside[0]
        inside = folders_in(folder)
    return folder if inside else None


def _images_of(folder: Path, name: str, remarks: Remarks | None = None) -> Iterator[str]:
    """Yield the paths of a class from ``folder``, in the order of torchvision's ImageFolder."""
    return (os.path.join(name, path) for path in images_below(folder / name, remarks))


def _remark_loose(folder: Path, remarks: Remarks) -> None:
    """Note images that lie beside the class folders, and links that lead nowhere."""
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if is_hidden(name):
            continue
        if not os.path.exists(path):
            remarks.add("links that lead nowhere (left out)", path)
        elif ends_like_image(name) and os.path.isfile(path):
            remarks.add("images beside the class folders (left out)", path)
