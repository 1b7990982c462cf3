"""The costs of the smallest and the largest subnet of a space, those of the catalog read from a file.

Counting them needs torch, whose import takes longer than all else that ``nasvit spaces`` does. Where a space of the
catalog or a count has changed, ``python -m nasvit.costs.ends`` writes the file anew; a test compares it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeAlias

import search_spaces
from nasvit.files.records import read_json
from predictors.blocks import blocks_of, fingerprint
from predictors.cost import METRICS
from search_spaces import Architecture, Space

Costs: TypeAlias = dict[str, int]
"""The costs of one subnet by metric."""

CATALOG = Path(__file__).with_name("catalog.json")


def usual_classes(name: str) -> int:
    """Return the number of classes that a space of the catalog is shown for."""
    return 10 if "micro" in name else 1000


def costs_of_ends(space: Space, classes: int) -> tuple[Costs, Costs]:
    """Return the costs of the smallest and the largest subnet.

    Args:
        space: the search space; those of the catalog need no counting for :func:`usual_classes`.
        classes: number of classes.
    """
    found = read_json(CATALOG).get(_key(space, classes))
    if found is None:
        return counted(space, space.smallest, classes), counted(space, space.largest, classes)
    return found["smallest"], found["largest"]


def _key(space: Space, classes: int) -> str:
    return f"{fingerprint(space)} {classes} classes"


def counted(space: Space, architecture: Architecture, classes: int) -> Costs:
    """Count the costs of one subnet; for many, :func:`nasvit.costs.tables.cost_table` is faster."""
    from nasvit.costs.tables import count_block, image_bytes

    found = dict.fromkeys(METRICS, 0)
    for number, blocks in enumerate(blocks_of(space, architecture)):
        image = image_bytes(space, architecture.resolution) if number else 0  # the stem counts it itself
        for block, times in blocks:
            cost = count_block(space, block, classes)
            found["macs"] += times * cost.macs
            found["params"] += times * cost.params
            found["int8_size"] += times * cost.int8_size
            found["memory"] = max(found["memory"], cost.memory + image)
    return found


def write_catalog(path: Path = CATALOG) -> None:
    """Count the ends of all spaces of the catalog and write them to a file."""
    entries = dict[str, dict[str, Costs]]()
    for name in search_spaces.names():
        space, classes = search_spaces.load(name), usual_classes(name)
        ends = {"smallest": space.smallest, "largest": space.largest}
        entries[_key(space, classes)] = {end: counted(space, each, classes) for end, each in ends.items()}
    lines = [f"{json.dumps(key)}: {json.dumps(entry)}" for key, entry in entries.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    write_catalog()
