"""What to tell the user of images that are larger, smaller or of another form than the networks take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from nasvit.costs.counting import count
from nasvit.experiment.images import Images
from nasvit.specs import Spec, TimmSpec
from search_spaces.values import FieldError


def size_remarks(images: Images, resolutions: Sequence[int], whose: str) -> list[str]:
    """Return one line if images are of a size that makes little sense for networks that resize them, else none.

    Args:
        images: the images, at the size that ``data.image_size`` says, or else as they are stored.
        resolutions: sides in pixels that the networks bring images to.
        whose: what to call the networks.
    """
    _, height, width = images.shape
    least, most = min(resolutions), max(resolutions)
    told = f"images of {width}x{height} pixels"
    takes = f"{whose} takes {least}" + (f" to {most}" if most > least else "")
    if not width:
        return []  # they differ, which no loader takes
    if height != width:
        return [
            f"{told} are no squares, and {takes}: every network resizes them itself, which needs memory that its costs "
            f"do not count; data.image_size: {most} brings them to squares"
        ]
    if width < least:
        return [
            f"{told} are smaller than any network sees them, {takes}: they are enlarged; data.image_size: {most} takes "
            "more of the images if the source has it, a space of lower resolutions costs less"
        ]
    if width > most:
        return [
            f"{told} are larger than any network sees them, {takes}: nothing is gained; data.image_size: {most} "
            "saves time"
        ]
    return []


def square_side(shape: tuple[int, int, int]) -> int:
    """Return the side of images of a shape, in pixels, where a network is followed at their size.

    Raises:
        FieldError: if they are no squares of one size.
    """
    _, height, width = shape
    if height != width or not height:
        raise FieldError(["data", "image_size"], "is missing; the images are no squares of one size")
    return height


def spec_for_images(spec: Spec, network: nn.Module, shape: tuple[int, int, int], classes: int) -> Spec:
    """Return the spec of a network that images of a size go through: its own, or timm's one built for the size.

    Args:
        spec: spec of the network.
        network: the network.
        shape: of one image.
        classes: number of classes.

    Raises:
        ValueError: if there is none, as for a transformer of fixed patches.
    """
    try:
        count(network, *shape)
    except (RuntimeError, AssertionError, ValueError) as error:
        built = _built_for(spec, shape, classes)
        if built is not None:
            return built
        size = "x".join(map(str, shape[1:]))
        if "meta" in str(error):
            raise ValueError(f"its code needs numbers of tensors, not only their shapes: {error}") from error
        raise ValueError(f"it does not take images of {size} pixels: {error}") from error
    return spec


def _built_for(spec: Spec, shape: tuple[int, int, int], classes: int) -> TimmSpec | None:
    """Return the spec of a network of timm whose tables of positions are as large as images need; None if none can."""
    height, width = shape[1:]
    if not isinstance(spec, TimmSpec) or height != width:
        return None
    built = replace(spec, built_for=height)
    try:
        count(built.build(classes), *shape)
    except Exception:  # timm's networks take other words for it, or fail in any way at sizes that are not for them
        return None
    return built
