"""What the supernet of an experiment is trained for: budgets, and what they leave of the space."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nasvit.files.records import read_json, write_record
from predictors.bounds import Kept
from predictors.limits import Budget
from search_spaces import Architecture, ElasticArchitecture, Genome, Subnet

RECORD = "trained_for.json"

Spans = Callable[[str], tuple[float, float]]
"""Metric -> the smallest and the largest cost of all subnets."""


@dataclass(frozen=True)
class TrainedFor:
    """What a supernet was trained for, as its folder records it.

    Args:
        budgets: it was trained with subnets that meet at least one of them.
        values: decision -> the choices that are left of the space.
        largest: the subnet that learned from the targets.
    """

    budgets: tuple[Budget, ...]
    values: Mapping[str, Sequence[Any]]
    largest: Subnet

    def write(self, folder: Path) -> None:
        """Write the record into the folder of the results."""
        largest = json.loads(self.largest.to_json())
        budgets = [budget.text for budget in self.budgets]
        write_record(folder / RECORD, {"budgets": budgets, "values": dict(self.values), "largest": largest})

    @classmethod
    def read(cls, folder: Path) -> TrainedFor | None:
        """Read what :meth:`write` wrote; None if there is none."""
        if not (folder / RECORD).exists():
            return None
        content = read_json(folder / RECORD)
        budgets = tuple(map(Budget, content["budgets"]))
        fields = content["largest"]
        kind = ElasticArchitecture if isinstance(fields.get("width", {}), dict) else Architecture
        return cls(budgets, content["values"], kind.from_fields(fields))


def admitted_values(genome: Genome, kept: Kept | None) -> dict[str, list[Any]]:
    """Return the choices that subnets within at least one budget can have, by decision; all if there is no such subnet.

    A search needs something to decide: where one subnet alone is left, one decision keeps a second choice.

    Args:
        genome: the decisions.
        kept: the indices of those choices, for every gene.
    """
    genes = genome.genes
    if kept is None:
        return {gene.name: list(gene.values) for gene in genes}
    if all(len(values) == 1 for values in kept):
        kept = _with_a_second(kept, [gene.when is None for gene in genes])
    return {gene.name: [gene.values[index] for index in values] for gene, values in zip(genes, kept, strict=True)}


def _with_a_second(kept: Kept, always_count: Sequence[bool]) -> Kept:
    gene = always_count.index(True)
    only = int(kept[gene][0])
    return [np.array(sorted({only, abs(only - 1)})) if number == gene else each for number, each in enumerate(kept)]


def require_within(budgets: Sequence[Budget], trained: Sequence[Budget], spans: Spans, folder: Path) -> None:
    """Refuse a budget with subnets that the supernet was not trained for.

    Args:
        budgets: the budgets of a search.
        trained: those that the supernet was trained for.
        spans: costs of the whole space, asked for only where the limits alone do not tell.
        folder: folder of the results, for the message.

    Raises:
        ValueError: naming the budget, what the supernet was trained for, and the way out.
    """
    for budget in budgets:
        if not any(_contains(one, budget, spans) for one in trained):
            raise ValueError(
                f"the supernet in {folder} was trained for {' or '.join(map(str, trained))}, and the budget "
                f"{budget or 'without limits'} has subnets beyond; give another output folder, where it is trained "
                "with that budget from the start"
            )


def _contains(outer: Budget, inner: Budget, spans: Spans) -> bool:
    """Whether the limits of one budget hold wherever those of another do, judged cost by cost."""
    return all(
        _lies_in(_range(inner, limit.metric), (limit.low, limit.high))
        or _lies_in(_clipped(_range(inner, limit.metric), spans(limit.metric)), (limit.low, limit.high))
        for limit in outer.limits
    )


def _range(budget: Budget, metric: str) -> tuple[float, float]:
    limits = [limit for limit in budget.limits if limit.metric == metric]
    low = max((limit.low for limit in limits), default=-np.inf)
    return low, min((limit.high for limit in limits), default=np.inf)


def _clipped(inner: tuple[float, float], outer: tuple[float, float]) -> tuple[float, float]:
    return max(inner[0], outer[0]), min(inner[1], outer[1])


def _lies_in(inner: tuple[float, float], outer: tuple[float, float]) -> bool:
    empty = inner[0] > inner[1]
    return empty or (outer[0] <= inner[0] and inner[1] <= outer[1])
