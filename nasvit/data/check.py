"""Every image decoded once, to find those that cannot be."""

from __future__ import annotations

import sys
from functools import partial

from nasvit.data.bad import BadImageError
from nasvit.data.images import EncodedImages
from nasvit.data.workers import Stream, processors

_CHUNK = 64
_ALONE = 2000  # images that this process decodes sooner than workers start


def find_bad(images: EncodedImages, source: str, *, workers: int | None = None) -> dict[int, str]:
    """Decode all images and return the reason of each that cannot be, by its position.

    Args:
        images: the images.
        source: what to call them while the user waits.
        workers: processes that decode; None: the processors that there are.
    """
    if workers is None:
        workers = processors() if len(images) > _ALONE else 0
    print(f"nasvit: {source}: decoding {len(images)} images once to find bad ones", file=sys.stderr)
    chunks = Stream(partial(_bad_in, images), range(0, len(images), _CHUNK), workers=workers, pin=False)
    return {index: reason for found in chunks for index, reason in found.items()}


def _bad_in(images: EncodedImages, start: int) -> dict[int, str]:
    found = {}
    for index in range(start, min(start + _CHUNK, len(images))):
        try:
            images.open(index)
        except BadImageError as error:
            found[index] = error.reason
    return found
