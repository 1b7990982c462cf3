"""How many pixels of masks every class has."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import torch
from torch import Tensor

from nasvit.data.encoded_masks import EncodedMasks
from nasvit.data.mask_table import IGNORED
from nasvit.data.targets import Masks
from nasvit.data.workers import Stream, processors

_CHUNK = 64
_ALONE = 1000  # masks that this process decodes sooner than workers start, and without a word


def pixels_of_classes(
    masks: Masks, classes: int, source: str, *, workers: int | None = None, others_wait: bool = False
) -> Tensor:
    """Return how many pixels every class has, and how many have any class in the masks that show it.

    Masks are looked at once, as they are held; encoded ones are decoded for it.

    Args:
        masks: the masks.
        classes: number of classes.
        source: what to call the masks while the user waits.
        workers: processes that decode; None: the processors that there are.
        others_wait: whether the other processes of this machine wait for this one.

    Returns:
        int64 ``(2, classes)``

    Raises:
        BadImageError: naming a mask that cannot be decoded.
    """
    many = isinstance(masks.stored, EncodedMasks) and len(masks) > _ALONE
    if workers is None or not many:
        workers = processors(others_wait=others_wait) if many else 0
    if many:
        print(f"nasvit: {source}: decoding {len(masks)} masks once to count the pixels of classes", file=sys.stderr)
    starts = range(0, len(masks), _CHUNK)
    return torch.stack(list(Stream(partial(_counted, masks, classes), starts, workers=workers, pin=False))).sum(0)


def _counted(masks: Masks, classes: int, start: int) -> Tensor:
    counts = np.zeros((2, classes), dtype=np.int64)
    for index in range(start, min(start + _CHUNK, len(masks))):
        stored = masks.stored
        mask = stored.open(index) if isinstance(stored, EncodedMasks) else stored[index].numpy()
        own = np.bincount(mask.ravel(), minlength=IGNORED + 1)[:classes]
        counts += own, np.where(own > 0, own.sum(), 0)
    return torch.from_numpy(counts)
