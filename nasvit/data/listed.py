"""What listing a source gives: where its images are, and their labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nasvit.data.stores import Indices, Names, Store

TEST_NAMES = ("test", "val", "validation")
"""Names of test splits; where there are several, the first is the test split."""

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
        numbered: whether classes are known by number only, so that the last ones may be missing.
        fingerprint: differs where other images, or images of another number of bytes, were listed.
        sizes: int64 (N, 2), height and width of every image, where they are known beforehand.
        validation: int64 (V,), which images the source itself sets apart for validation; None: none.
    """

    store: Store
    targets: Any
    classes: tuple[str, ...]
    note: str
    has_test_split: bool
    bad: Mapping[int, str] = field(default_factory=dict)
    numbered: bool = False
    fingerprint: str = ""
    sizes: Indices | None = None
    validation: Indices | None = None


def fingerprint(names: Names, sizes: Indices) -> str:
    """Return the fingerprint of images.

    Args:
        names: name of every image.
        sizes: int64 (N, ...), number of bytes of every image, and where it lies.
    """
    return hashlib.sha256(names.content() + np.ascontiguousarray(sizes, dtype="<i8").tobytes()).hexdigest()
