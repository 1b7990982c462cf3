"""The latency of whole populations, from the measured blocks of a space."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.arrays import Codes
from predictors.blocks import BlockKey, block_parts, fingerprint
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
        genes: columns that a population must have.
        factors: the milliseconds of every part of the network.
        scale: what the sum is multiplied by.
        offset: milliseconds that are added.
        record: how, where and when it was measured, as the file says it; free to read.
    """

    def __init__(
        self,
        genes: int,
        factors: Sequence[Factor],
        *,
        scale: float = 1.0,
        offset: float = 0.0,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        self.genes, self.scale, self.offset, self.record = genes, scale, offset, dict(record or {})
        self._factors = tuple(factors)

    @property
    def parts(self) -> Parts:
        """The milliseconds as parts of the network, scale and offset included."""
        timed = [Factor(each.columns, self.scale * each.table) for each in self._factors]
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
            for factor in self._factors:
                result[start : start + _CHUNK] += _look_up(factor, columns)
        return result


def _look_up(factor: Factor, columns: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Look up a transposed population."""
    position = np.zeros(columns.shape[1], dtype=np.int32)
    for column, size in zip(factor.columns, factor.table.shape, strict=True):
        position *= np.int32(size)
        position += columns[column]
    found: NDArray[np.float64] = factor.table.reshape(-1)[position]
    return found


def space_table(
    space: Space,
    milliseconds: Mapping[str, float],
    *,
    scale: float = 1.0,
    offset: float = 0.0,
    record: Mapping[str, Any] | None = None,
) -> LatencyTable:
    """Return the table of a space.

    Args:
        space: the space that the blocks belong to.
        milliseconds: of every block of the space, by name.
        scale: what the sum is multiplied by.
        offset: milliseconds that are added.
        record: how it was measured.

    Raises:
        ValueError: if a block of the space was not measured.
    """
    factors = []
    for part in block_parts(space):
        table = np.array([_sum(blocks, milliseconds) for blocks in part.combinations])
        factors.append(Factor(part.columns, table.reshape(part.shape)))
    return LatencyTable(len(space.genome), factors, scale=scale, offset=offset, record=record)


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
    record = read_record(path)
    made_for, own = record["space"], fingerprint(space)
    if made_for.get("fingerprint") != own:
        raise ValueError(
            f"{path} was measured for {described(made_for)}, not for {space.name!r} (fingerprint {own}); measure that "
            f"one: nasvit latency build {space.name} --out FILE.json"
        )
    milliseconds = {name: block["milliseconds"] for name, block in record["blocks"].items()}
    correction = record["correction"]
    return space_table(space, milliseconds, scale=correction["scale"], offset=correction["offset"], record=record)


def described(measured: Mapping[str, Any]) -> str:
    """Return what a table was measured for, as messages name it."""
    if "network" not in measured:
        return f"space {measured['name']!r} (fingerprint {measured['fingerprint']})"
    kind, spec = measured["network"]["kind"], measured["network"]["spec"]
    return f"network {measured['name']!r} ({kind}: {', '.join(f'{field} {value}' for field, value in spec.items())})"


def read_record(path: Path | str) -> dict[str, Any]:
    """Return what the file of a latency table holds.

    Raises:
        ValueError: if it is none.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a latency table: {error}") from error
    if not isinstance(record, dict) or record.get("latency_table") != FORMAT:
        raise ValueError(f"{path} is not a latency table of format {FORMAT}; nasvit latency build writes them")
    return record
