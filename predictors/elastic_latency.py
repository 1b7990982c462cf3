"""Latency tables by decisions, as of networks that were made elastic: what files hold, and which spaces they cover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from predictors.arrays import Floats
from predictors.bounds import Factor
from predictors.latency import MOST, Correction, LatencyTable, described, read_record
from search_spaces import SearchSpace
from search_spaces.elastic import Units
from search_spaces.reading import from_json_value
from search_spaces.values import shown

Values = Mapping[str, Sequence[int]]
"""Name of a decision -> its values, ascending; the last one is that of the network itself."""


def identity_of(space: SearchSpace) -> dict[str, Any]:
    """Return what a table says of the space that it was measured for."""
    decisions = {each.name: list(each.values) for each in space.decisions}
    return {"name": space.name, "image_channels": space.image_channels, "decisions": decisions}


def table_of_parts(
    space: SearchSpace,
    parts: Sequence[Mapping[str, Any]],
    measured: Values,
    *,
    scale: float = 1.0,
    offset: float = 0.0,
    record: Mapping[str, Any] | None = None,
) -> LatencyTable:
    """Return the table of a space from what was measured.

    Args:
        space: the space; its values are among the measured ones.
        parts: milliseconds by ``decisions``, one axis each.
        measured: values of all decisions; one that the space does not have is as in the network itself.
        scale: what the sum is multiplied by.
        offset: milliseconds that are added.
        record: how it was measured.
    """
    asked = {each.name: each.values for each in space.decisions}
    factors = []
    for part in parts:
        table, columns = np.array(part["milliseconds"], dtype=np.float64), []
        for axis, name in enumerate(part["decisions"]):
            values = asked.get(name, (measured[name][-1],))
            table = table.take([measured[name].index(value) for value in values], axis=axis)
            columns += [space.genome.column(name)] if len(values) > 1 else []
        factors.append(Factor(tuple(columns), table.squeeze()))
    return LatencyTable(len(space.genome), factors, scale=scale, offset=offset, record=record)


@dataclass(frozen=True)
class _Measured:
    """What was decided in the network when it was measured."""

    decisions: dict[str, tuple[Units, ...]]


@dataclass(frozen=True)
class _Part:
    """One part of the network; its milliseconds are looked at by themselves."""

    decisions: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Network:
    """What the file of a table of a network says."""

    space: _Measured
    correction: Correction
    parts: tuple[_Part, ...]


def load_network_table(path: Path | str, space: SearchSpace, network: Mapping[str, Any]) -> LatencyTable:
    """Read a latency table of a network.

    Args:
        path: the JSON file.
        space: what is decided in the network; no more than was measured.
        network: kind and spec of the network.

    Raises:
        ValueError: if the file is no latency table, or one of another network, or one that lacks choices of the space.
        FileNotFoundError: if there is no such file.
    """
    record = read_record(path)
    made_for = record.get("space")
    anew = "measure what is asked for: nasvit latency build EXPERIMENT.yaml --out FILE.json"
    if not isinstance(made_for, Mapping) or made_for.get("network") != network:
        asked = described({"name": space.name, "network": network})
        raise ValueError(f"{path} was measured for {described(made_for)}, not for {asked}; {anew}")
    told = from_json_value(_Network, record, str(path), more=True)
    measured: Values = told.space.decisions
    for each in space.decisions:
        known = measured.get(each.name, each.values[-1:])
        missing = [value for value in each.values if value not in known]
        if missing:
            raise ValueError(
                f"{path} was measured with {each.name} of {_listed(known)}, and {_listed(missing)} is asked for; {anew}"
            )
    parts = [
        {"decisions": part.decisions, "milliseconds": _times(f"{path}: parts[{place}]", part, measured, content)}
        for place, (part, content) in enumerate(zip(told.parts, record["parts"], strict=True))
    ]
    scale, offset = told.correction.scale, told.correction.offset
    return table_of_parts(space, parts, measured, scale=scale, offset=offset, record=record)


def _times(where: str, part: _Part, measured: Values, content: Mapping[str, Any]) -> Floats:
    """Return the milliseconds of a part, an axis for each decision, which may be 0 where it is left out.

    Raises:
        ValueError: if they are anything else.
    """
    unknown = [name for name in part.decisions if not measured.get(name)]
    if unknown or len({*part.decisions}) < len(part.decisions):
        raise ValueError(
            f"{where}.decisions: {shown(part.decisions)}; legal: some of {_listed([*measured])}, each once"
        )
    shape = tuple(len(measured[name]) for name in part.decisions)
    try:
        table = np.array(content.get("milliseconds"))
    except ValueError:
        table = np.array("lists of several lengths")
    if table.dtype.kind not in "iuf" or table.shape != shape or not ((table >= 0) & (table <= MOST)).all():
        legal = f"numbers from 0 to {MOST:g} in lists of shape {list(shape)}, as many as {_listed(part.decisions)} has"
        raise ValueError(f"{where}.milliseconds: legal are {legal if shape else 'numbers from 0'}")
    return table.astype(np.float64)


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))
