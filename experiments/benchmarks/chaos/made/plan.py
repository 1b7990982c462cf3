"""What a folder of images will hold, and what is right to do with it; written when nothing is changed any more."""

from __future__ import annotations

import gzip
import json
import os
import random
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from experiments.benchmarks.chaos.made.pictures import Picture, Pixels
from nasvit.data.annotated import BOX_SOURCES, MASKS, TaskName

Role = Literal["train", "test"]
ROLES: tuple[Role, ...] = ("train", "test")

Rng: TypeAlias = random.Random
Numbers: TypeAlias = np.random.Generator
Edges: TypeAlias = tuple[float, float, float, float]


@dataclass
class Box:
    """An annotated box.

    Args:
        label: name of its class.
        edges: x1, y1, x2, y2 as they are annotated.
        kept: what is right to learn from it; None: it is left out.
        more: further fields of the annotation.
    """

    label: str
    edges: Edges
    kept: Edges | None
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Sample:
    """One image of a folder.

    Args:
        role: the split that it belongs to.
        label: its class; empty where it has boxes or a mask.
        path: its place below the folder, or in the archive of its split.
        picture: its content.
        boxes: its boxes.
        mask: its mask, a class index a pixel, 255 where nothing is learned.
        beside: content of the file of its label, in shards that have such files.
        bad: whether it cannot be used, whatever its content.
    """

    role: Role
    label: str
    path: str
    picture: Picture
    boxes: list[Box] = field(default_factory=list)
    mask: Pixels | None = None
    beside: bytes | None = None
    bad: bool = False

    @property
    def is_bad(self) -> bool:
        """Whether it cannot be shown."""
        return self.bad or self.picture.shown is None


@dataclass
class Plan:
    """A folder that is not written yet.

    Args:
        layout: how its images and labels lie.
        source: what is given to the library, with ``{}`` for the folder.
        parts: the path of the part of each split; empty: the folder has no parts.
        classes: the names of the classes in their order.
        archives: the tar file of each split, where images are in tar files.
        samples: its images.
        files: other files, by path; ``members`` are those in tar files, ``older`` the ones that come before the images.
        folders: folders without images.
        links: where links lead, by path, with ``{}`` for the folder; ``linked_folders`` are links to folders.
        pipes: images that are pipes.
        modes: rights of files and folders.
        vanishing: images that are removed once they were listed.
        documents: writes annotations, by path.
        edits: changes of JSON documents.
        raw: changes of the bytes of written files.
        refusals: each the words of a refusal that is right; if there are some, reading it is wrong.
        may_refuse: refusals that are right beside the right images.
        told: names of what is to be left out and told, by kind and place.
        options: fields of the data section.
        palette: color of every value of a mask; empty: masks hold the values.
        touched: images that something was done with; ``spared`` those of them that are bad.
        absent: listed images without a file.
        member_links: links in tar files.
        spoiled_archive: a tar file that is damaged, and how.
        prefix: folder that everything lies in.
        root: name of the folder.
        spelled: how a user writes its path.
    """

    layout: str
    source: str
    parts: dict[Role, str]
    classes: list[str]
    archives: dict[Role, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    members: list[tuple[Role, str, bytes]] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    pipes: list[str] = field(default_factory=list)
    modes: dict[str, int] = field(default_factory=dict)
    vanishing: list[Sample] = field(default_factory=list)
    documents: dict[str, Callable[[Plan], bytes]] = field(default_factory=dict)
    edits: list[tuple[str, Callable[[Any], Any]]] = field(default_factory=list)
    raw: list[tuple[str, Callable[[bytes], bytes]]] = field(default_factory=list)
    refusals: list[tuple[str, ...]] = field(default_factory=list)
    told: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    may_refuse: list[tuple[str, ...]] = field(default_factory=list)
    palette: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    touched: set[Sample] = field(default_factory=set)
    spared: set[Sample] = field(default_factory=set)
    absent: set[Sample] = field(default_factory=set)
    linked_folders: dict[str, str] = field(default_factory=dict)
    older: list[tuple[Role, str, bytes]] = field(default_factory=list)
    member_links: list[tuple[Role, str, str]] = field(default_factory=list)
    spoiled_archive: tuple[Role, str] | None = None
    prefix: str = ""
    root: str = "images"
    spelled: str = "{}"

    @property
    def task(self) -> TaskName:
        """What the images are for."""
        kind = self.layout.partition(" ")[0]
        return "detection" if kind in BOX_SOURCES else "segmentation" if kind == MASKS else "classification"

    def of(self, role: Role, label: str | None = None) -> list[Sample]:
        """Return the images of a split, or of one of its classes."""
        return [each for each in self.samples if each.role == role and label in (None, each.label)]

    def place(self, role: Role, label: str = "") -> str:
        """Return the folder of a class, or where the images of a split lie."""
        return os.path.join(self.parts.get(role, ""), label).rstrip("/")

    def put(self, role: Role, path: str, content: bytes) -> None:
        """Add a file that is no sample beside the images of a split."""
        if role in self.archives:
            self.members.append((role, path, content))
        else:
            self.files[path] = content

    def left_out(self, kind: str, where: str, name: str) -> None:
        """Note something that is to be left out and told: the kind, the list that it is told with, and its name."""
        self.told.setdefault((kind, where), []).append(name)

    def remove(self, sample: Sample) -> None:
        """Do without an image."""
        self.samples.remove(sample)
        self.links.pop(sample.path, None)
        self.modes.pop(sample.path, None)
        self.pipes = [path for path in self.pipes if path != sample.path]

    def write(self, root: Path) -> None:
        """Write everything below a folder."""
        root = root / self.prefix
        root.mkdir(parents=True)
        for path, real in self.linked_folders.items():
            (root / real).mkdir(parents=True, exist_ok=True)
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(os.path.relpath(root / real, (root / path).parent), root / path)
        for path, content in self._contents():
            _write(root, path, content)
        for path in self.folders:
            (root / path).mkdir(parents=True, exist_ok=True)
        for path, target in self.links.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(root / path):
                os.symlink(target.replace("{}", str(root)), root / path)
        for path in self.pipes:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            os.mkfifo(root / path)
        for role, archive in self.archives.items():
            links = [(path, target) for of, path, target in self.member_links if of == role]
            _pack(root / archive, [*self._members(role)], links)
        if self.spoiled_archive is not None:
            _spoil(root / self.archives[self.spoiled_archive[0]], self.spoiled_archive[1])
        for name, edit in self.raw:
            _write(root, name, edit((root / name).read_bytes()))
        for path, mode in self.modes.items():
            if os.path.lexists(root / path):
                os.chmod(root / path, mode)

    def _contents(self) -> Iterator[tuple[str, bytes]]:
        yield from self.files.items()
        linked = {*self.links, *self.pipes, *(each.path for each in self.absent)}
        for each in self.samples:
            if each.role not in self.archives and each.path not in linked:
                yield each.path, each.picture.content
        for name, document in self.documents.items():
            content = document(self)
            for of, edit in self.edits:
                if of == name:
                    content = json.dumps(edit(json.loads(content))).encode()
            yield name, content

    def _members(self, role: Role) -> Iterator[tuple[str, bytes]]:
        yield from ((path, content) for of, path, content in self.older if of == role)
        for each in self.of(role):
            yield each.path, each.picture.content
            if each.beside is not None:
                yield f"{each.path.partition('.')[0]}.cls", each.beside
        yield from ((path, content) for of, path, content in self.members if of == role)


def _write(root: Path, path: str, content: bytes) -> None:
    full = root / path
    full.parent.mkdir(parents=True, exist_ok=True)
    full.write_bytes(content)


def _spoil(archive: Path, how: str) -> None:
    content = archive.read_bytes()
    if how == "zip":
        archive.unlink()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("cat/1.png", content[:100])
        return
    spoiled = {
        "gzip": gzip.compress(content),
        "cut": content[: len(content) // 3],
        "empty": b"",
        "text": b"<html>not found</html>" * 50,
    }
    archive.write_bytes(spoiled[how])


def _pack(archive: Path, members: Sequence[tuple[str, bytes]], links: Sequence[tuple[str, str]]) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w") as file:
        for path, target in links:
            link = tarfile.TarInfo(path)
            link.type, link.linkname = tarfile.SYMTYPE, target
            file.addfile(link)
        for path, content in members:
            info = tarfile.TarInfo(path)
            info.size = len(content)
            file.addfile(info, BytesIO(content))


def draws(*parts: object) -> tuple[random.Random, np.random.Generator]:
    """Return two sources of random numbers that follow from some values."""
    rng = random.Random("-".join(map(str, parts)))
    return rng, np.random.default_rng(rng.getrandbits(63))
