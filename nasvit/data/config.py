"""The data section of a configuration: source, split, crop and loading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args, overload

from nasvit.data.bad import OnBadImage
from nasvit.data.class_names import Classes
from search_spaces.ranges import Checked, Pixels, Range
from search_spaces.values import FieldError

ImageSize = Pixels | tuple[Pixels, Pixels] | None
"""Side in pixels of squares, or height and width; None: as stored."""

TENTH = 0.1
"""Share of many training images that is held out."""


@dataclass(frozen=True)
class DataConfig(Checked):
    """Source of the images, held-out share, cropping and loading.

    Args:
        source: ``digits``, ``torchvision:NAME``, ``hf:NAME_OR_FOLDER``, or the path of an image folder, of tar files
            such as ``shards-{000..127}.tar``, or of Hugging Face parquet files. Of images with boxes ``coco:FOLDER``,
            ``voc:FOLDER`` or ``yolo:FOLDER``, of images with masks ``masks:FOLDER``.
        image_size: side in pixels that images are brought to; for boxes and masks also ``[height, width]``. None keeps
            the stored sizes. A set that takes up to 256 MiB at that size is held in memory, and resized crops are then
            cut out of the images at that size.
        validation: share of the training images that is held out for the search; None chooses: those that a source of
            boxes or masks itself sets apart (``val`` beside ``test``), else a tenth, of fewer than
            2,500 images up to a quarter (see :func:`nasvit.data.splits.automatic_share`), and where the folder of the
            results was begun with another share, that. ``nasvit fit``, which chooses nothing, holds out a tenth.
        crop: crop of training images: ``pad`` (pad and cut, for small images of one size), ``resized`` (a random part,
            resized; of images with boxes or masks a zoom by 0.5 to 2 about a random place), ``none``.
        padding: pixels added at every side, for ``pad``.
        mirror: mirror images at random; None: only where a mirrored image still shows its class.
        download: let torchvision download missing data sets.
        workers: processes that prepare batches ahead, for each process of a training; None chooses: none
            without an accelerator, else the processors that there are, 16 at most, and 4 for images in memory.
        crop_pct: share of the resized short side that is cut out at evaluation; published accuracies use 0.875, which
            is 224 of 256 pixels. The images then stay encoded.
        on_bad_image: ``stop`` at images that cannot be decoded; ``skip`` looks for them first, once, and leaves them
            out. ``bad_images.json`` in the folder of the results names them.
        classes: ``equal``: all splits have the same classes, with images in each. ``from train``: those with training
            images; there may be none to test on of some, and images of other classes are left out of the test images.
        ignore_index: value of masks where nothing is to be learned or judged, beside 255; None: no other.

    Raises:
        FieldError: if a value is out of its range.
    """

    source: str
    image_size: ImageSize = None
    validation: Annotated[float, Range(0, 1, above=True, below=True)] | None = None
    crop: Literal["none", "pad", "resized"] = "pad"
    padding: Annotated[int, Range(0, 1024)] = 4
    mirror: bool | None = None
    download: bool = False
    workers: Annotated[int, Range(0, 256)] | None = None
    crop_pct: Annotated[float, Range(0, 1, above=True)] = 1.0
    on_bad_image: OnBadImage = "stop"
    classes: Classes = "equal"
    ignore_index: Annotated[int, Range(0, 255)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.on_bad_image not in ("stop", "skip"):
            raise FieldError(["on_bad_image"], f"{self.on_bad_image!r}; legal are 'stop' and 'skip'")
        if self.classes not in get_args(Classes):
            raise FieldError(["classes"], f"{self.classes!r}; legal are 'equal' and 'from train'")


@overload
def height_and_width(image_size: int | tuple[int, int]) -> tuple[int, int]: ...
@overload
def height_and_width(image_size: ImageSize) -> tuple[int, int] | None: ...
def height_and_width(image_size: ImageSize) -> tuple[int, int] | None:
    """Return height and width of images in pixels; None where their size is not given."""
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def refuse_pair(image_size: ImageSize, source: str) -> None:
    """Refuse height and width where images are classified, which are brought to squares.

    Raises:
        ValueError: if they are given.
    """
    if isinstance(image_size, tuple):
        raise ValueError(
            f"{source}: image_size {list(image_size)}: images to classify are brought to squares; give one number of "
            "pixels (height and width are for boxes and masks)"
        )
