"""Tar files listed in place: one folder per class, or samples as WebDataset lays them out."""

from __future__ import annotations

import os
import re
import tarfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from nasvit.data.listed import EMPTY, Listed, fingerprint
from nasvit.data.stores import Indices, Names, TarStore

_LABEL = ".cls"


def list_tars(paths: Sequence[Path], *, has_test_split: bool = False) -> Listed:
    """List the images of tar files that are not compressed.

    Their classes are the folders in them (or the tar files in them, as in ImageNet's); or, where there are ``.cls``
    files, the class indices in these: ``0001.jpg`` belongs to ``0001.cls``, as in WebDataset's shards. Within a file
    images come in the natural order of their paths, or as they are stored beside ``.cls`` files.

    Args:
        paths: the tar files, in their order.
        has_test_split: whether they are one split of a source with both.

    Raises:
        ValueError: if a file is no such tar file, or an image has no label.
    """
    parts = [_scan(path) for path in paths]
    orders = [part.order() for part in parts]
    members = Names(part.members[each] for part, order in zip(parts, orders) for each in order.tolist())
    if not len(members):
        raise ValueError(f"{paths[0]}: no image in it" + (", nor in those after it" if len(paths) > 1 else ""))
    places = np.concatenate([part.places_in(number)[order] for number, (part, order) in enumerate(zip(parts, orders))])
    found, classes = _labels(parts)
    targets = np.concatenate([each[order] for each, order in zip(found, orders)])
    note = f"tar file {paths[0].name}" if len(paths) == 1 else f"{len(paths)} tar files from {paths[0].name}"
    bad = {int(each): EMPTY for each in np.flatnonzero(places[:, 2] == 0)}
    numbered = any(part.labels for part in parts)
    store, mark = TarStore(tuple(paths), members, places), fingerprint(members, places)
    lengths = np.ascontiguousarray(places[:, 2])
    return Listed(store, targets, classes, note, has_test_split, bad, numbered, mark, names=members, lengths=lengths)


@dataclass
class _Part:
    """Images of one tar file as they are stored, each with the number of its folder."""

    path: Path
    members: Names = field(default_factory=Names)
    places: array[int] = field(default_factory=lambda: array("q"))
    numbers: array[int] = field(default_factory=lambda: array("q"))
    folders: dict[str, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)

    def order(self) -> Indices:
        """Return the order in which the images come."""
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


def _scan(path: Path) -> _Part:
    part = _Part(path)
    try:
        with tarfile.open(path, mode="r:") as archive:
            for name, start, size, read in _files(archive, "", 0):
                if name.endswith(_LABEL):
                    part.labels[_key(name)] = _class_index(read(), f"{path}: {name}")
                elif name.lower().endswith(IMG_EXTENSIONS):
                    part.members.append(name)
                    part.places.extend((start, size))
                    folder = os.path.basename(os.path.dirname(name))
                    part.numbers.append(part.folders.setdefault(folder, len(part.folders)))
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"{path}: cannot be listed ({error}); needed is a whole tar file, not compressed") from error
    return part


def _files(archive: tarfile.TarFile, folder: str, base: int) -> Iterator[tuple[str, int, int, Callable[[], bytes]]]:
    """Yield name, first byte, number of bytes and content of every file, also of those in tar files inside."""
    while (info := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined] # it would keep an object for every member
        if not info.isfile() or os.path.basename(info.name).startswith("."):
            continue
        inside = archive.extractfile(info)
        assert inside is not None
        if info.name.lower().endswith(".tar"):
            with tarfile.open(fileobj=inside, mode="r:") as inner:
                yield from _files(inner, folder + info.name[: -len(".tar")] + "/", base + info.offset_data)
        else:
            yield folder + info.name, base + info.offset_data, info.size, inside.read


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
    if not content.strip().isdigit():
        raise ValueError(f"{name}: holds {content[:20]!r}, needed is a class index from 0")
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
