"""Images in, batches out: sources, held-out splits, augmentation, loading."""

from __future__ import annotations

from nasvit.data.augment import NO_AUGMENTATION, Augmentation
from nasvit.data.bad import BadImageError
from nasvit.data.images import EncodedImages, ImageSet
from nasvit.data.loader import Loader
from nasvit.data.normalization import Normalization
from nasvit.data.sources import load_images
from nasvit.data.splits import SearchData, SplitRecord, hold_out

__all__ = [
    "NO_AUGMENTATION",
    "Augmentation",
    "BadImageError",
    "EncodedImages",
    "ImageSet",
    "Loader",
    "Normalization",
    "SearchData",
    "SplitRecord",
    "hold_out",
    "load_images",
]
