"""Every image looked at or decoded once, to find those that cannot be, and a file that remembers them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from nasvit.data.bad import MOST_NAMED, BadImageError
from nasvit.data.encoded import EncodedImages
from nasvit.data.listed import Listed
from nasvit.data.masked import Decodable, with_masks
from nasvit.data.workers import Stream, processors
from nasvit.files.held import is_used
from nasvit.files.records import read_json, write_record

HEADS = "heads"
_CHUNK = 64
_ALONE = 2000  # images that this process decodes sooner than workers start


def remembered_bad(
    images: Decodable, listed: Listed, source: str, *, record: Path | None, workers: int | None = None
) -> dict[int, str]:
    """Return the reason of each image that cannot be decoded, by its number; decode them only where no record has it.

    Args:
        images: all images that were listed.
        listed: what was listed.
        source: what to call the images while the user waits.
        record: file with the bad images of listings that were decoded before; it gets those of this one. A listing of
            other images, or of a repaired one, is decoded again. None: nothing is remembered.
        workers: processes that decode; None: the processors that there are.
    """
    known = read_json(record) if record is not None and record.exists() else {}
    found = known.get(listed.fingerprint, {})
    if found and not found.get(HEADS):
        return {each["number"]: each["reason"] for each in found["bad"]}
    bad = {**find_bad(images, source, workers=workers, record=record), **listed.bad}
    if record is not None:
        remember(record, listed.fingerprint, source, bad, len(images), listed.store.name)
    return bad


def bad_heads(
    images: EncodedImages,
    targets: Any,
    mark: str,
    source: str,
    *,
    known: Mapping[int, str] | None = None,
    record: Path | None = None,
    workers: int | None = None,
) -> dict[int, str]:
    """Return the reason of each image whose head or end shows that it is bad, by its position.

    They are looked at only where no record says that all are good.

    Args:
        images: the images.
        targets: what belongs to them.
        mark: fingerprint of the images.
        source: what to call the images while the user waits.
        known: reasons that are known without a look.
        record: file that remembers which images were looked at; see :func:`remembered_bad`.
        workers: processes that look; None: the processors that there are.
    """
    before = read_json(record) if record is not None and record.exists() else {}
    if not known and before.get(mark, {}).get("bad") == []:
        return {}
    looked = with_masks(images, targets)
    bad = {**find_bad(looked, source, workers=workers, record=record, heads=True), **(known or {})}
    if record is not None:
        remember(record, mark, source, bad, len(images), images.name, heads=True)
    return bad


def remember(
    record: Path,
    mark: str,
    source: str,
    bad: Mapping[int, str],
    count: int,
    name: Callable[[int], str],
    *,
    heads: bool = False,
) -> None:
    """Write down which images are bad; no folder is made for it where a message names them all.

    Args:
        record: the file.
        mark: fingerprint of the images.
        source: what to call them before a user.
        bad: reason by number of image.
        count: number of all images.
        name: names an image by its number.
        heads: whether they were not all decoded.
    """
    if heads and len(bad) <= MOST_NAMED and not is_used(record.parent):
        return
    known = read_json(record) if record.exists() else {}
    named = [{"number": each, "image": name(each), "reason": bad[each]} for each in sorted(bad)]
    now = {"source": source, "images": count, "bad": named} | ({HEADS: True} if heads else {})
    write_record(record, {**known, mark: now})


def find_bad(
    images: Decodable,
    source: str,
    *,
    workers: int | None = None,
    record: Path | None = None,
    heads: bool = False,
) -> dict[int, str]:
    """Decode all images and return the reason of each that cannot be, by its position.

    Args:
        images: the images.
        source: what to call them while the user waits.
        workers: processes that decode; None: the processors that there are.
        record: file that the result goes to; other processes wait for it.
        heads: look at heads and ends alone.
    """
    many = len(images) > _ALONE
    if workers is None:
        workers = processors(others_wait=record is not None) if many else 0
    kept = f"; the result is kept in {record}" if record is not None else ""
    if many or not heads:
        doing = "looking at the heads of" if heads else "decoding"
        print(f"nasvit: {source}: {doing} {len(images)} images once to find bad ones{kept}", file=sys.stderr)
    look = images.look if heads else images.open
    chunks = Stream(partial(_bad_in, look, len(images)), range(0, len(images), _CHUNK), workers=workers, pin=False)
    return {index: reason for found in chunks for index, reason in found.items()}


def _bad_in(look: Callable[[int], object], count: int, start: int) -> dict[int, str]:
    found = {}
    for index in range(start, min(start + _CHUNK, count)):
        try:
            look(index)
        except BadImageError as error:
            found[index] = error.reason
    return found
