"""The values that masks hold: looked for once, and remembered."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nasvit.data.bad import BadImageError
from nasvit.data.encoded_masks import decoded
from nasvit.data.listed import fingerprint
from nasvit.data.mask_table import NO_COLORS, is_colored, mask_values
from nasvit.data.stores import FileStore, Names
from nasvit.data.workers import Stream, processors
from nasvit.files.records import read_json, write_record

MASK_VALUES = "mask_values.json"
"""File that remembers which values masks hold, beside that of the bad images."""

_CHUNK = 64
_PROBED = 8
_ALONE = 1000  # masks that this process decodes sooner than workers start, and without a word


class Found(NamedTuple):
    """What masks hold.

    Args:
        values: every value that occurs, sorted.
        colored: the first mask that holds colors instead; empty: none does.
    """

    values: tuple[int, ...]
    colored: str


@dataclass(frozen=True)
class _Masks:
    """Masks of a folder, which are the same as long as their fingerprint is."""

    folder: Path
    mark: str
    store: FileStore = field(compare=False)
    name: str = field(compare=False)
    workers: int | None = field(compare=False)


def values_in(
    folder: Path, paths: Names, name: str, *, record: Path | None, workers: int | None = None
) -> tuple[int, ...]:
    """Return every value that some masks hold; masks that cannot be decoded are passed over, and those of colors too.

    They are decoded once in a process, or with a record once for all.

    Args:
        folder: folder that the paths start from.
        paths: the masks.
        name: what to call them while the user waits.
        record: file with the values of masks that were decoded before; it gets those of these. None: there is none.
        workers: processes that decode; None: the processors that there are.

    Raises:
        ValueError: naming a mask, if masks hold nothing but colors.
    """
    masks = _Masks(folder, _mark(folder, paths), FileStore(folder, paths), name, workers)
    found = _decoded(masks) if record is None else _remembered(masks, record)
    if found.colored and not found.values:
        raise ValueError(f"{found.colored}: {NO_COLORS}")
    return found.values


def black_and_white(store: FileStore) -> bool:
    """Return whether the first masks hold the values 0 and 255 and no other, as pictures of black and white do."""
    return _values_from(store, 0, min(_PROBED, len(store))).values == (0, 255)


def _mark(folder: Path, paths: Names) -> str:
    stats = [_stat(folder / paths[each]) for each in range(len(paths))]
    return fingerprint(paths, np.array(stats, dtype=np.int64).reshape(-1, 2))


def _stat(path: Path) -> tuple[int, int]:
    """Return bytes and time of change; a mask may be drawn anew in just as many bytes."""
    try:
        found = path.stat()
    except OSError:
        return -1, 0
    return found.st_size, found.st_mtime_ns


def _remembered(masks: _Masks, record: Path) -> Found:
    known = read_json(record) if record.exists() else {}
    if masks.mark not in known:
        known = {**known, masks.mark: {"masks": masks.name, **_decoded(masks, record)._asdict()}}
        write_record(record, known)
    return Found(tuple(known[masks.mark]["values"]), known[masks.mark]["colored"])


@lru_cache(maxsize=16)
def _decoded(masks: _Masks, record: Path | None = None) -> Found:
    many, workers = len(masks.store) > _ALONE, masks.workers
    if workers is None:
        workers = processors(others_wait=record is not None) if many else 0
    if many:
        kept = f", kept in {record}" if record is not None else ""
        counted = f"decoding {len(masks.store)} masks once to find their values"
        print(f"nasvit: {masks.name}: no classes.txt: {counted}{kept}", file=sys.stderr)
    starts = range(0, len(masks.store), _CHUNK)
    parts = list(Stream(partial(_values_from, masks.store), starts, workers=workers, pin=False))
    values = {value for part in parts for value in part.values}
    return Found(tuple(sorted(values)), next((part.colored for part in parts if part.colored), ""))


def _values_from(store: FileStore, start: int, count: int = _CHUNK) -> Found:
    values: set[int] = set()
    colored = ""
    for number in range(start, min(start + count, len(store))):
        try:
            image = decoded(store, number)
        except BadImageError:
            continue  # said when the images themselves are judged
        if is_colored(image):
            colored = colored or store.name(number)
        else:
            values |= _whole(np.unique(mask_values(image)))
    return Found(tuple(sorted(values)), colored)


def _whole(values: Any) -> set[int]:
    """Return the values that can be numbers of classes; others are said when the masks are read."""
    return {int(each) for each in values.tolist() if each >= 0 and each == int(each)}
