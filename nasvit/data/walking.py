"""The images below a folder: by their endings or else by their first bytes, without what systems put beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from nasvit.data.remarks import Remarks

ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".jp2", ".j2k"),
    *(".png", ".apng", ".gif", ".webp", ".avif", ".heic", ".heif"),
    *(".bmp", ".dib", ".tif", ".tiff", ".tga", ".ppm", ".pgm", ".pbm", ".pnm"),
)
"""Ends of the names of images, in lower case. What is called so and is none is a bad image."""

NO_IMAGES = "files that are no images (left out)"
CIRCLES = "links to a folder around them (left out)"

_RESOURCES = ("__macosx", "@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "#recycle", "lost+found")
"""Folders and files, in lower case, that macOS, Windows and network disks put beside those of users."""

_OTHERS = (
    *(".txt", ".xml", ".json", ".jsonl", ".csv", ".tsv", ".md", ".html", ".yaml", ".yml", ".cls", ".npy", ".npz"),
    *(".mat", ".pkl", ".pt", ".zip", ".gz", ".tar", ".pdf", ".mp4", ".mov", ".avi", ".py", ".ipynb", ".log", ".ini"),
    *(".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".raf", ".rw2"),
)
"""Ends of the names of what is no image to this library, so that it need not be opened to know; raw photos too."""

HEAD = 16
"""Bytes of a file that tell whether it is an image."""


class Found(NamedTuple):
    """A folder that was walked through: its path, and the names of the files in it, sorted."""

    where: str
    names: list[str]


def is_hidden(path: str) -> bool:
    """Return whether a path leads through what is hidden, or put there by a system: no class and no image."""
    return any(
        (part[:1] == "." and part not in (".", "..")) or part.lower() in _RESOURCES for part in path.split(os.sep)
    )


def ends_like_image(name: str) -> bool:
    """Return whether a name says that a file is an image."""
    return name.lower().endswith(ENDINGS)


def may_be_image(name: str) -> bool:
    """Return whether a name says nothing of what a file is, so that its first bytes have to."""
    return not ends_like_image(name) and not name.lower().endswith(_OTHERS)


def starts_like_image(head: bytes) -> bool:
    """Return whether the first bytes of a file, 16 and more, are those of an image."""
    if head[:3] == b"\xff\xd8\xff" or head[:8] == b"\x89PNG\r\n\x1a\n" or head[:6] in (b"GIF87a", b"GIF89a"):
        return True
    if head[:4] in (b"II*\0", b"MM\0*") or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return True
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"heic", b"heix", b"mif1"):
        return True
    return head[:2] == b"BM" and head[6:10] == bytes(4) and head[14:15] in (b"\x0c", b"\x28", b"\x6c", b"\x7c")


def images_below(folder: str | os.PathLike[str], remarks: Remarks | None = None) -> Iterator[str]:
    """Yield the paths of the images below a folder, from there, in the order of torchvision's ImageFolder.

    Args:
        folder: the folder; links are followed.
        remarks: gets what is left out, if that is to be told.

    Raises:
        ValueError: if a folder cannot be listed.
    """
    root = os.fspath(folder)
    for where, names in walk(root, remarks):
        below = os.path.relpath(where, root)
        for name in names:
            path = os.path.join(where, name)
            if ends_like_image(name) or (may_be_image(name) and _starts_so(path)):
                yield name if below == os.curdir else os.path.join(below, name)
            elif remarks is not None:
                remarks.add(NO_IMAGES, path)


def walk(folder: str, remarks: Remarks | None = None) -> list[Found]:
    """Return a folder and the folders below it, without hidden ones, sorted by their paths.

    Links are followed, but for those that lead to a folder that they lie in.

    Raises:
        ValueError: if a folder cannot be listed.
    """
    found, waiting = list[Found](), list[tuple[str, tuple[str, ...]]]([(folder, (os.path.realpath(folder),))])
    while waiting:
        where, around = waiting.pop()
        names = []
        for entry in _entries(where):
            if is_hidden(entry.name):
                continue
            if not _is_folder(entry):
                names.append(entry.name)
            elif not entry.is_symlink():
                waiting.append((entry.path, (*around[:-1], os.path.join(around[-1], entry.name))))
            elif any(_lies_in(each, real := os.path.realpath(entry.path)) for each in around):
                if remarks is not None:
                    remarks.add(CIRCLES, entry.path)
            else:
                waiting.append((entry.path, (*around, real)))
        found.append(Found(where, sorted(names)))
    return sorted(found)


def folders_in(folder: str | os.PathLike[str], remarks: Remarks | None = None) -> list[str]:
    """Return the names of the folders in a folder, sorted, without hidden ones and links that lead around it.

    Args:
        folder: the folder.
        remarks: gets such links, if they are to be told.

    Raises:
        ValueError: if it cannot be listed.
    """
    names, own = [], os.path.realpath(folder)
    for entry in _entries(os.fspath(folder)):
        if is_hidden(entry.name) or not _is_folder(entry):
            continue
        if not entry.is_symlink() or not _lies_in(own, os.path.realpath(entry.path)):
            names.append(entry.name)
        elif remarks is not None:
            remarks.add(CIRCLES, entry.path)
    return sorted(names)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be listed ({error.strerror})") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _lies_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


def _starts_so(path: str) -> bool:
    try:
        if not os.path.isfile(path):  # reading a pipe would wait for ever
            return False
        with open(path, "rb", buffering=0) as file:
            return starts_like_image(file.read(HEAD) or b"")
    except OSError:
        return False
