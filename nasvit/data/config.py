"""The data section of a configuration: source, split, crop and loading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DataConfig:
    """Source of the images, held-out share, cropping and loading.

    Args:
        source: ``digits``, ``torchvision:NAME``, or the path of an image folder or of Hugging Face parquet files.
        image_size: side in pixels that images are brought to; None keeps the stored sizes.
        validation: share of the training images that is held out for the search.
        crop: crop of training images: ``pad`` (pad and cut, for small images of one size), ``resized`` (a random part,
            resized), ``none``.
        padding: pixels added at every side, for ``pad``.
        mirror: mirror images at random; None: only where a mirrored image still shows its class.
        download: let torchvision download missing data sets.
        workers: processes that prepare batches ahead; 0 for small images in memory.
    """

    source: str
    image_size: int | None = None
    validation: float = 0.1
    crop: Literal["none", "pad", "resized"] = "pad"
    padding: int = 4
    mirror: bool | None = None
    download: bool = False
    workers: int = 0
