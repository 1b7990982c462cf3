"""Finished cost tables in the user's cache folder: ``$XDG_CACHE_HOME/nasvit``, or ``~/.cache/nasvit``.

Counting a large space takes many seconds, and every command that knows budgets needs its table. A file is good for the
code that counted it only. Whatever is wrong with file or folder means that the table is counted again.
"""

from __future__ import annotations

import functools
import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from nasvit.elastic.registry import KINDS
from nasvit.files.whole import cache_folder, whole
from predictors.blocks import BlockPart, fingerprint
from predictors.cost import METRICS, CostTable, Part
from search_spaces import Space

_PACKAGES = ("nasvit", "predictors", "search_spaces")
_WRONG = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile)
"""What reading a damaged file, or a folder that is none, can raise; ``RuntimeError``: nobody has a home folder."""


def kept_table(space: Space, classes: int, parts: Sequence[BlockPart]) -> CostTable | None:
    """Return the table that :func:`keep_table` kept, or None.

    Args:
        space: the search space.
        classes: number of classes of the classifier.
        parts: its parts.
    """
    if not _may_keep(parts):
        return None
    try:
        with np.load(_path(space, classes), allow_pickle=False) as kept:
            if str(kept["counted_by"]) != _code():
                return None
            return CostTable([_read(kept, number, part) for number, part in enumerate(parts)], len(space.genome))
    except _WRONG:
        return None


def keep_table(table: CostTable, space: Space, classes: int, parts: Sequence[BlockPart]) -> None:
    """Keep a table for the next time, whole or not at all; where that is not possible it is not kept.

    Args:
        table: the table of the space.
        space: the search space.
        classes: number of classes of the classifier.
        parts: the parts that the table was made of.
    """
    if not _may_keep(parts):
        return
    arrays = {f"{name}_{number}": getattr(part, name) for number, part in enumerate(table.parts) for name in METRICS}
    try:
        with whole(_path(space, classes)) as temporary, temporary.open("wb") as file:
            np.savez(file, counted_by=np.array(_code()), **arrays)
    except _WRONG:
        return


def _read(kept: np.lib.npyio.NpzFile, number: int, part: BlockPart) -> Part:
    arrays = {name: kept[f"{name}_{number}"] for name in METRICS}
    if any(array.shape != part.shape or array.dtype != np.int64 for array in arrays.values()):
        raise ValueError("a table of another shape")
    return Part(part.columns, **arrays)


def _may_keep(parts: Sequence[BlockPart]) -> bool:
    """Whether all blocks are of this library: code of others may change and nobody would know."""
    kinds = [
        KINDS[kind] for kind in {block.kind for part in parts for blocks in part.combinations for block, _ in blocks}
    ]
    code = (each for kind in kinds for each in (kind.plain, kind.elastic, kind.build, kind.at))
    return all(each.__module__.partition(".")[0] in _PACKAGES for each in code)


def _path(space: Space, classes: int) -> Path:
    return cache_folder() / f"costs-{fingerprint(space)}-{classes}.npz"


@functools.cache
def _code() -> str:
    """Return a hash of all code that a count depends on: this library's, and the version of PyTorch.

    Raises:
        OSError: if this library does not lie in readable files.
    """
    digest = hashlib.sha256(torch.__version__.encode())
    house = Path(__file__).parents[2]
    paths = sorted(path for package in _PACKAGES for path in (house / package).rglob("*.py"))
    if Path(__file__) not in paths:
        raise OSError(f"{house} does not hold the code that runs")
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(house)} {len(content)}\n".encode() + content)
    return digest.hexdigest()
