"""What to tell the user of images that are larger, smaller or of another form than the networks take them."""

from __future__ import annotations

from collections.abc import Sequence

from nasvit.experiment.images import Images


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
