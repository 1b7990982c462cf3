"""Tar files listed in place: one folder per class, or samples as WebDataset lays them out."""

from __future__ import annotations

import io
import os
import re
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from nasvit.data.class_names import Classes, matched
from nasvit.data.listed import EMPTY, Listed, fingerprint
from nasvit.data.remarks import Remarks
from nasvit.data.roles import TESTS, role_of
from nasvit.data.stores import Indices, Names, TarStore
from nasvit.data.walking import HEAD, NO_IMAGES, ends_like_image, is_hidden, may_be_image, starts_like_image

_LABEL, _LINK = ".cls", -1
_MOST_CLASSES = 1_000_000


def list_tars(
    paths: Sequence[Path],
    *,
    has_test_split: bool = False,
    remarks: Remarks | None = None,
    expected: Sequence[str] | None = None,
    rule: Classes = "equal",
    where: str = "",
) -> Listed:
    """List the images of tar files that are not compressed.

    Their classes are the folders in them (or the tar files in them, as in ImageNet's); or, where there are ``.cls``
    files, the class indices in these: ``0001.jpg`` belongs to ``0001.cls``, as in WebDataset's shards. Within a file
    images come in the natural order of their paths, or as they are stored beside ``.cls`` files.

    Args:
        paths: the tar files, in their order.
        has_test_split: whether they are one split of a source with both.
        remarks: gets what is left out; None: it is warned of.
        expected: the classes of the training split, where this is the other one.
        rule: whether all splits must have the same classes.
        where: what to call both splits before a user.

    Raises:
        ValueError: if a file is no such tar file, an image has no label, or the classes are not those expected.
    """
    own = remarks or Remarks()
    parts = [_scan(path, own) for path in paths]
    orders = [part.order(own) for part in parts]
    members = Names(part.members[each] for part, order in zip(parts, orders) for each in order.tolist())
    if not len(members):
        raise ValueError(f"{paths[0]}: no image in it" + (", nor in those after it" if len(paths) > 1 else ""))
    places = np.concatenate([part.places_in(number)[order] for number, (part, order) in enumerate(zip(parts, orders))])
    found, classes = _labels(parts)
    targets = np.concatenate([each[order] for each, order in zip(found, orders)])
    if expected is not None:
        targets, classes = _expected(targets, classes, expected, parts, where, rule, own)
        kept = np.flatnonzero(targets >= 0)
        members, places, targets = Names(members[each] for each in kept.tolist()), places[kept], targets[kept]
    if remarks is None:
        own.warn(str(paths[0]))
    note = f"tar file {paths[0].name}" if len(paths) == 1 else f"{len(paths)} tar files from {paths[0].name}"
    bad = {int(each): EMPTY for each in np.flatnonzero(places[:, 2] == 0)}
    store, mark = TarStore(tuple(paths), members, places), fingerprint(members, places)
    lengths = np.ascontiguousarray(places[:, 2])
    return Listed(store, targets, classes, note, has_test_split, bad, mark, names=members, lengths=lengths)


def _expected(
    targets: Indices,
    classes: Sequence[str],
    expected: Sequence[str],
    parts: Sequence[_Part],
    where: str,
    rule: Classes,
    remarks: Remarks,
) -> tuple[Indices, tuple[str, ...]]:
    """Return targets by the classes of the training split, -1 of images that are left out, and these classes."""
    if any(part.labels for part in parts) and len(classes) <= len(expected):
        return targets, tuple(expected)  # numbers: of the last classes there may be no image
    return matched(classes, expected, where, rule, remarks)[targets], tuple(expected)


@dataclass
class _Part:
    """Images of one tar file as they are stored, each with the number of its folder; and the first of every folder."""

    path: Path
    members: Names = field(default_factory=Names)
    places: array[int] = field(default_factory=lambda: array("q"))
    numbers: array[int] = field(default_factory=lambda: array("q"))
    folders: dict[str, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    inside: dict[str, str] = field(default_factory=dict)

    def order(self, remarks: Remarks) -> Indices:
        """Return the order in which the images come; of those of one name the last is left, as unpacking leaves it."""
        order = self._sorted()
        marks = np.fromiter((hash(self.members[each]) for each in range(len(order))), np.int64, len(order))
        if len(np.unique(marks)) == len(order):  # a set of the names would take more memory than they
            return order
        last = {self.members[each]: each for each in range(len(order))}
        kept = np.isin(order, [*last.values()])
        for each in order[~kept].tolist():
            remarks.add("files that come again later in a tar file (left out)", f"{self.path}: {self.members[each]}")
        return order[kept]

    def _sorted(self) -> Indices:
        keys = (_natural(self.members[each]) for each in range(len(self.members)))
        if self.labels or _is_sorted(keys):
            return np.arange(len(self.members))
        keys = (_natural(self.members[each]) for each in range(len(self.members)))
        return np.argsort(np.array(list(keys)), kind="stable")

    def places_in(self, archive: int) -> Indices:
        """Return number of the archive, first byte and number of bytes of every image."""
        places = np.array(self.places, dtype=np.int64).reshape(-1, 2)
        return np.insert(places, 0, archive, axis=1)

    def labeled(self) -> Indices:
        """Return the class index that lies beside every image."""
        return np.array([self._label(self.members[each]) for each in range(len(self.members))], dtype=np.int64)

    def _label(self, name: str) -> int:
        key = _key(name)
        if key not in self.labels:
            raise ValueError(f"{self.path}: {name} has no label: there is no {key}{_LABEL}")
        return self.labels[key]


def _scan(path: Path, remarks: Remarks) -> _Part:
    part, others = _Part(path), list[str]()
    try:
        with tarfile.open(path, mode="r:") as archive:
            for name, start, size, file in _files(archive, "", 0):
                if is_hidden(os.path.normpath(name)):
                    continue
                if size == _LINK:
                    remarks.add("links in tar files (left out)", f"{path}: {name}")
                    continue
                if name.endswith(_LABEL):
                    part.labels[_key(name)] = _class_index(file.read(), f"{path}: {name}")
                elif ends_like_image(name) or (may_be_image(name) and starts_like_image(file.read(HEAD))):
                    part.members.append(name)
                    part.places.extend((start, size))
                    folder = os.path.basename(os.path.dirname(name))
                    part.numbers.append(part.folders.setdefault(folder, len(part.folders)))
                    part.inside.setdefault(os.path.dirname(name), name)
                else:
                    others.append(name)
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"{path}: cannot be listed ({error}); needed is a whole tar file, not compressed") from error
    for name in others if not part.labels else ():  # beside labels there are other fields of the samples
        remarks.add(NO_IMAGES, f"{path}: {name}")
    _check_above(part)
    return part


def _check_above(part: _Part) -> None:
    """Refuse a tar file that holds both a part for training and one for testing, or images beside class folders."""
    if part.labels:
        return
    above = {str(each): folder for folder in part.inside for each in PurePosixPath(folder).parents}
    roles = {role_of(name) for folder in above for name in folder.split("/")}
    if "train" in roles and not roles.isdisjoint(TESTS):
        raise ValueError(
            f"{part.path}: holds images for training and for testing; unpack it and give the folder, or make two of "
            "it, train.tar and val.tar, and give their folder"
        )
    for folder, first in part.inside.items():
        if (of := os.path.normpath(folder)) in above:
            raise ValueError(
                f"{part.path}: {first} lies beside folders of images, such as {above[of]}; classes are the folders "
                "next to the images: take it out of the tar file, or unpack that and give the folder"
            )


def _files(archive: tarfile.TarFile, folder: str, base: int) -> Iterator[tuple[str, int, int, IO[bytes]]]:
    """Yield name, first byte, number of bytes and content of every file, also of those in tar files inside.

    Links come with ``_LINK`` instead of their bytes.
    """
    while (info := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined] # it would keep an object for every member
        if info.islnk() or info.issym():
            yield folder + info.name, 0, _LINK, io.BytesIO()
        if not info.isfile() or os.path.basename(info.name).startswith("."):
            continue
        inside = archive.extractfile(info)
        assert inside is not None
        if info.name.lower().endswith(".tar"):
            with tarfile.open(fileobj=inside, mode="r:") as inner:
                yield from _files(inner, folder + info.name[: -len(".tar")] + "/", base + info.offset_data)
        else:
            yield folder + info.name, base + info.offset_data, info.size, inside
    _require_end(archive)


def _require_end(archive: tarfile.TarFile) -> None:
    """Refuse a tar file that ends where a member should begin: what came behind is missing."""
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it has no mark of its end, so that members may be missing: pack it again")


def _labels(parts: Sequence[_Part]) -> tuple[list[Indices], tuple[str, ...]]:
    filled = [part for part in parts if len(part.members)]
    if any(part.labels for part in filled):
        targets = [part.labeled() for part in parts]
        highest = max(int(each.max()) for each in targets if len(each))
        return targets, tuple(str(number) for number in range(highest + 1))
    # Every reader here numbers classes in the order of sorted().
    classes = sorted({name for part in parts for name in part.folders})
    if not classes[0] or classes[0] == ".":
        raise ValueError(f"{parts[0].path}: images lie in no class folder, and there are no {_LABEL} files")
    number = {name: index for index, name in enumerate(classes)}
    of_folders = [np.array([number[name] for name in part.folders], dtype=np.int64) for part in parts]
    return [each[np.array(part.numbers, dtype=np.int64)] for each, part in zip(of_folders, parts)], tuple(classes)


def _class_index(content: bytes, name: str) -> int:
    if not content.strip().isdigit() or len(content.strip()) > len(str(_MOST_CLASSES)) or int(content) >= _MOST_CLASSES:
        raise ValueError(f"{name}: holds {content[:20]!r}, needed is a class index from 0 to {_MOST_CLASSES - 1}")
    return int(content)


def _key(name: str) -> str:
    folder, base = os.path.split(name)
    return os.path.join(folder, base.partition(".")[0])


def _natural(name: str) -> bytes:
    # Numbers of one width behind a byte below all others: sorts as text and numbers in turn do.
    padded = re.sub(r"\d+", lambda found: f"\0{int(found.group()):020}", name.lower())
    return padded.encode("utf-8", "surrogateescape")


def _is_sorted(keys: Iterator[bytes]) -> bool:
    previous = b""
    for key in keys:
        if key < previous:
            return False
        previous = key
    return True
