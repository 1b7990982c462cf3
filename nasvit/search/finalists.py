"""The candidates that were measured thoroughly, and the best of them under a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nasvit.search.candidates import Candidate
from nasvit.search.judge import Judge
from nasvit.search.sight import smallest_seen
from predictors.limits import Budget


@dataclass(frozen=True)
class Finalist:
    """A candidate that was measured thoroughly.

    Args:
        candidate: the candidate.
        record: what was measured: ``key``, ``score`` and the other numbers of the task, and, if the task tells them,
            ``per_image`` (see :func:`nasvit.search.sight.in_groups`).
        costs: metric -> value, such as ``macs`` of one image.
    """

    candidate: Candidate
    record: Mapping[str, Any]
    costs: Mapping[str, float]

    def meets(self, budget: Budget) -> bool:
        """Return whether the candidate keeps within the limits."""
        return all(limit.violation(np.array([self.costs[limit.metric]]))[0] == 0 for limit in budget.limits)

    def costs_under(self, budget: Budget) -> list[float]:
        """Return the costs that decide between equals: those that the budget limits, then multiply-adds."""
        return [self.costs[metric] for metric in cost_names(budget)]


def cost_names(budget: Budget) -> list[str]:
    """Return the costs that matter under a budget, the most important first."""
    return [*dict.fromkeys([*(limit.metric for limit in budget.limits), "macs"])]


def best_under(budget: Budget, finalists: Sequence[Finalist], judge: Judge) -> Finalist:
    """Return the best of all that meet a budget, whichever budget they were measured for.

    So none of these beats it, and a budget never gets a worse one than a tighter budget.

    Raises:
        ValueError: if none meets it.
    """
    able = [each for each in finalists if each.meets(budget)]
    if not able:
        raise ValueError(f"none of {len(finalists)} measured candidates meets {budget}")
    return min(able, key=lambda each: judge.rank(each.record, each.costs_under(budget)))


def equals_of(
    best: Finalist, budget: Budget, finalists: Sequence[Finalist], judge: Judge, unseen: float
) -> list[Finalist]:
    """Return the others that meet a budget and measured so little worse that it cannot be seen, the cheapest first.

    Args:
        best: the best of those that meet the budget.
        budget: the limits.
        finalists: all of them.
        judge: decides by which number.
        unseen: difference of that number that cannot be seen.
    """
    value = judge.value(best.record)
    found = [
        each
        for each in finalists
        if each is not best and each.meets(budget) and abs(judge.value(each.record) - value) <= unseen
    ]
    return sorted(found, key=lambda each: (each.costs_under(budget), each.record["key"]))


def unseen_below(
    name: str, budgets: Sequence[Budget], chosen: Sequence[Finalist], finalists: Sequence[Finalist]
) -> float | None:
    """Return the difference of a number below which the finalists of the same budgets look alike; None if not known.

    Args:
        name: a number of the score, such as ``accuracy`` or ``loss``.
        budgets: the budgets.
        chosen: the best of each; the others that meet the budget are compared with it.
        finalists: all of them.
    """
    pairs = [
        (_per_image(best, name), _per_image(other, name))
        for budget, best in zip(budgets, chosen, strict=True)
        for other in finalists
        if other is not best and other.meets(budget)
    ]
    return smallest_seen(pairs)


def _per_image(finalist: Finalist, name: str) -> list[float]:
    found: list[float] = finalist.record.get("per_image", {}).get(name, [])
    return found
