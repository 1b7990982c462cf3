"""What listing a source gives: where its images are, and their labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from nasvit.data.stores import Indices, Names, Store

TEST_NAMES = ("test", "val", "validation")
"""Names of test splits; where there are several, the first is the test split."""

EMPTY = "it is empty"
"""Why an image without a single byte is bad."""


@dataclass(frozen=True)
class Listed:
    """Encoded images with their labels, listed and not read.

    Args:
        store: reads the images.
        targets: int64 (N,), class index of every image.
        classes: name of every class index.
        note: description of the source.
        has_test_split: whether the source has a test split of its own, so that these images are one split only.
        bad: reason by number, for images that are known to be bad without decoding them.
        numbered: whether classes are known by number only, so that the last ones may be missing.
        fingerprint: differs where other images, or images of another number of bytes, were listed.
    """

    store: Store
    targets: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    note: str
    has_test_split: bool
    bad: Mapping[int, str] = field(default_factory=dict)
    numbered: bool = False
    fingerprint: str = ""


def fingerprint(names: Names, sizes: Indices) -> str:
    """Return the fingerprint of images.

    Args:
        names: name of every image.
        sizes: int64 (N, ...), number of bytes of every image, and where it lies.
    """
    return hashlib.sha256(names.content() + np.ascontiguousarray(sizes, dtype="<i8").tobytes()).hexdigest()
