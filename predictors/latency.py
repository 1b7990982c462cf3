"""The latency of whole populations, from the measured blocks of a space."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.arrays import Codes
from predictors.blocks import BlockKey, BlockPart, block_parts, fingerprint
from predictors.bounds import Factor, Parts
from search_spaces import Space

FORMAT = 1
"""Version of the file that ``nasvit latency build`` writes."""

_CHUNK = 16_384  # rows at once, so that the columns stay in the processor's cache


class LatencyTable:
    """Predicts milliseconds: a measured number for every block, added up, times a scale, plus an offset.

    Blocks measured alone miss what a whole network adds or saves (calls, caches), so scale and offset are fitted on
    whole networks (:mod:`nasvit.costs.latency`).

    Args:
        space: the space that the blocks belong to.
        milliseconds: of every block of the space, by name.
        scale: what the sum is multiplied by.
        offset: milliseconds that are added.
        record: how, where and when it was measured, as the file says it; free to read.

    Raises:
        ValueError: if a block of the space was not measured.
    """

    def __init__(
        self,
        space: Space,
        milliseconds: Mapping[str, float],
        *,
        scale: float = 1.0,
        offset: float = 0.0,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        self.genes, self.scale, self.offset, self.record = len(space.genome), scale, offset, dict(record or {})
        self._parts = [_Timed(part, milliseconds) for part in block_parts(space)]

    @property
    def parts(self) -> Parts:
        """The milliseconds as parts of the network, scale and offset included."""
        timed = [Factor(part.columns, self.scale * part.table.reshape(part.shape)) for part in self._parts]
        return Parts((Factor((), np.array(self.offset)), *map(Factor.ordered, timed)))

    def latency(self, population: Codes) -> NDArray[np.float64]:
        """Return the predicted milliseconds of one call for every row.

        Args:
            population: of the table's space, shape ``(n, genes)``; genes that do not count are ignored.

        Returns:
            Shape ``(n,)``.

        Raises:
            ValueError: if the population has another number of genes.
        """
        return self.scale * self.total(population) + self.offset

    def total(self, population: Codes) -> NDArray[np.float64]:
        """Return the plain sums over blocks, before scale and offset, shape ``(n,)``."""
        if population.ndim != 2 or population.shape[1] != self.genes:
            raise ValueError(f"a population of shape (n, {self.genes}) is needed, got {population.shape}")
        result = np.zeros(len(population))
        for start in range(0, len(population), _CHUNK):
            columns = np.ascontiguousarray(population[start : start + _CHUNK].T)
            for part in self._parts:
                result[start : start + _CHUNK] += part.of(columns)
        return result


class _Timed:
    """The milliseconds of one part of the network for every combination of its genes."""

    def __init__(self, part: BlockPart, milliseconds: Mapping[str, float]) -> None:
        self.columns, self.shape = part.columns, part.shape
        self.table = np.array([_sum(blocks, milliseconds) for blocks in part.combinations])

    def of(self, columns: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Look up a transposed population."""
        position = np.zeros(columns.shape[1], dtype=np.int32)
        for column, size in zip(self.columns, self.shape, strict=True):
            position *= np.int32(size)
            position += columns[column]
        return self.table[position]


def _sum(blocks: Sequence[tuple[BlockKey, int]], milliseconds: Mapping[str, float]) -> float:
    missing = [block.name for block, _ in blocks if block.name not in milliseconds]
    if missing:
        raise ValueError(f"no latency was measured for the block {missing[0]!r}; build the table of its space anew")
    return sum(times * milliseconds[block.name] for block, times in blocks)


def load_table(path: Path | str, space: Space) -> LatencyTable:
    """Read a latency table that ``nasvit latency build`` wrote.

    Args:
        path: the JSON file.
        space: the space it is to be used for.

    Raises:
        ValueError: if the file is no latency table, or one of another space.
        FileNotFoundError: if there is no such file.
    """
    record = _read(path)
    made_for, asked = record["space"], {"name": space.name, "fingerprint": fingerprint(space)}
    if made_for["fingerprint"] != asked["fingerprint"]:
        raise ValueError(
            f"{path} was measured for space {made_for['name']!r} (fingerprint {made_for['fingerprint']}), not for "
            f"{asked['name']!r} (fingerprint {asked['fingerprint']}); measure that one: nasvit latency build "
            f"{asked['name']} --out FILE.json"
        )
    milliseconds = {name: block["milliseconds"] for name, block in record["blocks"].items()}
    correction = record["correction"]
    return LatencyTable(space, milliseconds, scale=correction["scale"], offset=correction["offset"], record=record)


def _read(path: Path | str) -> dict[str, Any]:
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a latency table: {error}") from error
    if not isinstance(record, dict) or record.get("latency_table") != FORMAT:
        raise ValueError(f"{path} is not a latency table of format {FORMAT}; nasvit latency build writes them")
    return record
