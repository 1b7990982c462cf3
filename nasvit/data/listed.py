"""What listing a source gives: where its images are, and their labels."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nasvit.data.bad import reason_of
from nasvit.data.stores import NO_FILE, Indices, Names, Store

EMPTY = "it is empty"
"""Why an image without a single byte is bad."""


@dataclass(frozen=True)
class Listed:
    """Encoded images with their targets, listed and not read.

    Args:
        store: reads the images.
        targets: class index of every image, int64 (N,) of numpy; or ``Boxes``, or ``Masks``.
        classes: name of every class index.
        note: description of the source.
        has_test_split: whether the source has a test split of its own, so that these images are one split only.
        bad: reason by number, for images that are known to be bad without decoding them.
        fingerprint: differs where other images, or images of another number of bytes, were listed.
        sizes: int64 (N, 2), height and width of every image, where they are known beforehand.
        validation: int64 (V,), which images the source itself sets apart for validation; None: none.
        names: name of every image within the source; None: they have none.
        lengths: int64 (N,), bytes of every image, -1 where they are not known; None: of no image.
        beside: fingerprint of what belongs to the images, where the targets do not hold it.
    """

    store: Store
    targets: Any
    classes: tuple[str, ...]
    note: str
    has_test_split: bool
    bad: Mapping[int, str] = field(default_factory=dict)
    fingerprint: str = ""
    sizes: Indices | None = None
    validation: Indices | None = None
    names: Names | None = None
    lengths: Indices | None = None
    beside: str = ""

    def relative(self, number: int) -> str:
        """Return what to call an image within the source, wherever that lies."""
        return f"row {number}" if self.names is None else self.names[number]


def fingerprint(names: Names, sizes: Indices) -> str:
    """Return the fingerprint of images.

    Args:
        names: name of every image.
        sizes: int64 (N, ...), number of bytes of every image, and where it lies.
    """
    return hashlib.sha256(names.content() + np.ascontiguousarray(sizes, dtype="<i8").tobytes()).hexdigest()


def file_size(path: str) -> tuple[int, str]:
    """Return the bytes of a file, and why it is bad where that needs no reading."""
    try:
        found = os.stat(path)
    except OSError as error:
        return -1, reason_of(error)
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return found.st_size, NO_FILE
    return found.st_size, "" if found.st_size else EMPTY
