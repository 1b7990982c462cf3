"""The latency of whole populations, from the measured blocks of a space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from predictors.arrays import Codes
from predictors.blocks import BlockKey, block_parts, fingerprint
from predictors.bounds import Factor, Parts
from search_spaces import Space
from search_spaces.files import read_json
from search_spaces.ranges import Checked, Range
from search_spaces.reading import from_json_value
from search_spaces.values import shown

FORMAT = 1
"""Version of the file that ``nasvit latency build`` writes."""

MOST = 1e9
"""Milliseconds that anything takes at most."""

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


@dataclass(frozen=True)
class Correction(Checked):
    """What a sum of milliseconds is multiplied by, and what is added then.

    Args:
        scale: the factor.
        offset: milliseconds.
    """

    scale: Annotated[float, Range(0, 1e6, above=True)]
    offset: Annotated[float, Range(-MOST, MOST)]


@dataclass(frozen=True)
class _Time(Checked):
    milliseconds: Annotated[float, Range(0, MOST, above=True)]
    rounds: Annotated[int, Range(1, 1_000_000)] = 1


@dataclass(frozen=True)
class _Blocks:
    """What the file of a table of a space says of its blocks."""

    correction: Correction
    blocks: dict[str, _Time]


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
    made_for, own = record.get("space"), fingerprint(space)
    if not isinstance(made_for, Mapping) or made_for.get("fingerprint") != own:
        raise ValueError(
            f"{path} was measured for {described(made_for)}, not for {space.name!r} (fingerprint {own}); measure that "
            f"one: nasvit latency build {space.name} --out FILE.json"
        )
    told = from_json_value(_Blocks, record, str(path), more=True)
    milliseconds, correction = {name: each.milliseconds for name, each in told.blocks.items()}, told.correction
    return space_table(space, milliseconds, scale=correction.scale, offset=correction.offset, record=record)


_MOST_OPTIONS = 20


def described(measured: Any) -> str:
    """Return what a table was measured for, as messages name it; it may say anything."""
    if not isinstance(measured, Mapping):
        return "nothing that it names"
    name, network = shown(measured.get("name")), measured.get("network")
    if not isinstance(network, Mapping):
        return f"space {name} (fingerprint {shown(measured.get('fingerprint'))})"
    spec = network.get("spec")
    options = [f"{field} {shown(value)}" for field, value in spec.items()] if isinstance(spec, Mapping) else []
    return f"network {name} ({network.get('kind')}: {', '.join(options[:_MOST_OPTIONS])})"


def read_record(path: Path | str) -> dict[str, Any]:
    """Return what the file of a latency table holds.

    Raises:
        ValueError: if it cannot be read, or is none.
    """
    record = read_json(path)
    if not isinstance(record, dict) or record.get("latency_table") != FORMAT:
        raise ValueError(f"{path} is not a latency table of format {FORMAT}; nasvit latency build writes them")
    return record
