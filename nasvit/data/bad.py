"""Images that cannot be decoded: one list of them all, and the choice to stop or to leave them out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from PIL import UnidentifiedImageError

OnBadImage = Literal["stop", "skip"]

MOST_NAMED = 10
"""Bad images that are named in a message."""

_WAY_OUT = (
    "repair or remove {them}, or leave bad images out (--data.on_bad_image skip; in a file data: on_bad_image: skip)"
)


def in_one_line(name: str) -> str:
    """Return a name as a message can hold it: what cannot be printed, such as an end of a line, is escaped."""
    if name.isprintable():
        return name
    kept = (each if each.isprintable() or "\ud800" <= each <= "\udfff" else repr(each)[1:-1] for each in name)
    return "".join(kept)


class BadImageError(ValueError):
    """Images cannot be decoded.

    Args:
        message: names them, the reason and the way out.
        reason: the reason alone, where it is one image.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


def bad_image(name: str, error: Exception) -> BadImageError:
    """Return the error of one image.

    Args:
        name: what to call the image.
        error: what reading or decoding it raised.
    """
    reason = reason_of(error)
    return BadImageError(f"{in_one_line(name)}: {reason}; {_WAY_OUT.format(them='it')}", reason)


def reason_of(error: Exception) -> str:
    """Return in words why an image cannot be decoded, without its name."""
    if isinstance(error, UnidentifiedImageError):
        return "it is no image of a known format"
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def judge(
    bad: Mapping[int, str],
    source: str,
    on_bad_image: OnBadImage,
    name: Callable[[int], str],
    record: Path | None = None,
) -> None:
    """Stop for bad images, or warn that they are left out.

    Args:
        bad: reason by number of image; may be empty.
        source: the source, as the user named it.
        on_bad_image: what to do.
        name: names an image by its number.
        record: file that names them all; None: there is none.

    Raises:
        BadImageError: if there are any and they are not to be left out.
    """
    if not bad:
        return
    named = "; ".join(f"{in_one_line(name(index))}: {in_one_line(bad[index])}" for index in sorted(bad)[:MOST_NAMED])
    kept = "" if record is None else f", all of which are named in {record}"
    more = f"; and {len(bad) - MOST_NAMED} more{kept}" if len(bad) > MOST_NAMED else ""
    counted = f"{in_one_line(source)}: {len(bad)} bad image{'s' if len(bad) > 1 else ''}"
    if on_bad_image == "stop":
        raise BadImageError(f"{counted}. {_WAY_OUT.format(them='them').capitalize()}. {named}{more}")
    warnings.warn(f"{counted} left out. {named}{more}", stacklevel=2)
