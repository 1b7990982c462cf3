"""The order in which the release draws: Python's ``random`` over our decisions gives its subnets.

Mutation and crossover are not compared: ours work on whole populations with numpy.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import search_spaces
from tests.parity.rows import Comparison, Row

RELEASED_FIELDS = ("resolution", "width", "depth", "kernel_size", "expand_ratio")


def claims(path: Path, content: dict[str, Any]) -> bool:
    """Cases with a seed and the subnets drawn."""
    cases = content.get("cases")
    return isinstance(cases, list) and all({"seed", "first", "second"} <= set(case) for case in cases)


def run(path: Path, content: dict[str, Any]) -> Iterator[Row]:
    """Compare the two subnets that every seed draws."""
    space = search_spaces.load("nasvit_release")
    for case in content["cases"]:
        comparison = Comparison(f"seed {case['seed']}", 1e-12)
        generator = random.Random(case["seed"])
        for name in ("first", "second"):
            comparison.exact(name, draw(space, generator), case[name])
        yield comparison.row("mutation and crossover not compared")


def draw(space: search_spaces.Space, generator: random.Random) -> dict[str, Any]:
    """Draw one configuration as the releases do: every decision in order, also those with one value."""
    config: dict[str, Any] = {field: [] for field in RELEASED_FIELDS}
    for decision in space.decisions:
        if decision.field == "resolution":
            config["resolution"] = generator.choice(decision.values)
        elif decision.field in config:
            config[decision.field].append(generator.choice(decision.values))
    return config
