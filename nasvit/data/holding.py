"""Sets that fit in memory, decoded into one tensor; masks beside their images."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nasvit.data.bad import BadImageError
from nasvit.data.config import ImageSize
from nasvit.data.encoded import EncodedImages
from nasvit.data.encoded_masks import EncodedMasks
from nasvit.data.images import centers, decode_if_small
from nasvit.data.letterbox import letterboxed, letterboxed_mask
from nasvit.data.mask_table import IGNORED
from nasvit.data.masked import reason_of_mask
from nasvit.data.targets import Masks


class Held(NamedTuple):
    """Images in memory.

    Args:
        images: uint8 (N, C, H, W).
        targets: what belongs to them.
        bad: reason by number, for images that cannot be decoded.
    """

    images: Tensor
    targets: Any
    bad: dict[int, str]


def hold(images: EncodedImages, targets: Any, image_size: ImageSize, memory_limit: int) -> Held | None:
    """Decode all images, and masks, into one tensor if they have one size and fit in memory.

    Args:
        images: the images.
        targets: what belongs to them.
        image_size: what every image is brought to; None to keep sizes.
        memory_limit: most bytes that all may take.
    """
    bring = centers if isinstance(targets, Tensor) else letterboxed
    masks = isinstance(targets, Masks)
    limit = memory_limit * images.channels // (images.channels + 1) if masks else memory_limit
    decoded = decode_if_small(images, image_size, limit, bring)
    if decoded is None:
        return None
    pixels, bad = decoded
    if not masks:
        return Held(pixels, targets, bad)
    held, bad_masks = _held(targets, (pixels.shape[2], pixels.shape[3]))
    return Held(pixels, held, {**bad_masks, **bad})


def _held(masks: Masks, size: tuple[int, int]) -> tuple[Masks, dict[int, str]]:
    encoded = masks.stored
    assert isinstance(encoded, EncodedMasks)
    stored = np.full((len(masks), *size), IGNORED, dtype=np.uint8)
    bad = {}
    for index in range(len(masks)):
        try:
            stored[index] = np.asarray(letterboxed_mask(Image.fromarray(encoded.open(index)), size))
        except BadImageError as error:
            bad[index] = reason_of_mask(encoded, index, error)
    return Masks(torch.from_numpy(stored), masks.sizes), bad
