"""Latency tables by decisions, as of networks that were made elastic: what files hold, and which spaces they cover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from predictors.bounds import Factor
from predictors.latency import LatencyTable, described, read_record
from search_spaces import SearchSpace

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
    made_for = record["space"]
    anew = "measure what is asked for: nasvit latency build EXPERIMENT.yaml --out FILE.json"
    if made_for.get("network") != network:
        asked = described({"name": space.name, "network": network})
        raise ValueError(f"{path} was measured for {described(made_for)}, not for {asked}; {anew}")
    measured: Values = made_for["decisions"]
    for each in space.decisions:
        known = measured.get(each.name, each.values[-1:])
        missing = [value for value in each.values if value not in known]
        if missing:
            raise ValueError(
                f"{path} was measured with {each.name} of {_listed(known)}, and {_listed(missing)} is asked for; {anew}"
            )
    correction = record["correction"]
    return table_of_parts(
        space, record["parts"], measured, scale=correction["scale"], offset=correction["offset"], record=record
    )


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))
