"""Every image decoded once, to find those that cannot be, and a file that remembers them."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Protocol

from nasvit.data.bad import BadImageError
from nasvit.data.listed import Listed
from nasvit.data.workers import Stream, processors
from nasvit.files.records import read_json, write_record

_CHUNK = 64
_ALONE = 2000  # images that this process decodes sooner than workers start


class Decodable(Protocol):
    """Images that may be decoded one by one, each with what belongs to it."""

    def __len__(self) -> int: ...

    def open(self, index: int) -> object:
        """Read and decode one.

        Raises:
            BadImageError: if that is not possible.
        """


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
    if listed.fingerprint in known:
        return {each["number"]: each["reason"] for each in known[listed.fingerprint]["bad"]}
    bad = {**find_bad(images, source, workers=workers, record=record), **listed.bad}
    if record is not None:
        named = [{"number": each, "image": listed.store.name(each), "reason": bad[each]} for each in sorted(bad)]
        now = {"source": source, "images": len(images), "bad": named}
        write_record(record, {**known, listed.fingerprint: now})
    return bad


def find_bad(
    images: Decodable, source: str, *, workers: int | None = None, record: Path | None = None
) -> dict[int, str]:
    """Decode all images and return the reason of each that cannot be, by its position.

    Args:
        images: the images.
        source: what to call them while the user waits.
        workers: processes that decode; None: the processors that there are.
        record: file that the result goes to; other processes wait for it.
    """
    if workers is None:
        workers = processors(others_wait=record is not None) if len(images) > _ALONE else 0
    kept = f"; the result is kept in {record}" if record is not None else ""
    print(f"nasvit: {source}: decoding {len(images)} images once to find bad ones{kept}", file=sys.stderr)
    chunks = Stream(partial(_bad_in, images), range(0, len(images), _CHUNK), workers=workers, pin=False)
    return {index: reason for found in chunks for index, reason in found.items()}


def _bad_in(images: Decodable, start: int) -> dict[int, str]:
    found = {}
    for index in range(start, min(start + _CHUNK, len(images))):
        try:
            images.open(index)
        except BadImageError as error:
            found[index] = error.reason
    return found
