"""The choice among what the search measured thoroughly, what of it could be seen, and its files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nasvit.experiment.shared_folder import is_there
from nasvit.experiment.stages.splits import held_out_in_all
from nasvit.experiment.workbench import Workbench
from nasvit.files.records import read_json, write_record
from nasvit.search.candidates import Candidate
from nasvit.search.finalists import Finalist, best_under, cost_names, equals_of, unseen_below
from nasvit.search.judge import Judge
from nasvit.search.pareto import write_front
from predictors.limits import UNITS, Budget
from search_spaces import Subnet
from search_spaces.recipe import Recipe

CHOICES = "choices.json"

Records = dict[str, dict[str, Any]]
"""What was measured of candidates, by their keys."""


@dataclass(frozen=True)
class Choice:
    """The subnet chosen for one budget.

    Args:
        budget: the limits.
        architecture: architecture of the subnet.
        recipe: recipe found with it; None where no recipes were searched.
        score: score on all validation images, by the task's metric; None where nothing was measured.
        costs: metric -> value, such as ``macs`` of one image.
        evidence: what the choice rests on, as plain JSON values: ``judged_by`` (the number that decided) and its value,
            the held-out ``images`` of all ``splits`` together, ``unseen_below`` (by name, the differences that these
            cannot show; empty if not known) and ``equals`` (the others that are as good as can be seen, the cheapest
            first). A choice of the prior has ``judged_by`` and what it was expected from. Empty in folders of earlier
            versions.
    """

    budget: Budget
    architecture: Subnet
    recipe: Recipe | None
    score: float | None
    costs: dict[str, float]
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def candidate(self) -> Candidate:
        """What was chosen."""
        return Candidate(self.architecture, self.recipe)


def judge_of(bench: Workbench, images: int) -> Judge:
    """Return the judge of measurements on so many held-out images.

    Raises:
        ValueError: if ``search.judge`` asks for a loss that the task does not have.
    """
    return Judge.of(bench.task, bench.experiment.search.judge, images)


def judge_of_finalists(bench: Workbench) -> Judge:
    """Return the judge of thorough measurements; raises as :func:`judge_of`."""
    return judge_of(bench, held_out_in_all(bench))


def choose(bench: Workbench, measured: Records) -> list[Choice]:
    """Choose the best of all thoroughly measured candidates for every budget.

    Args:
        bench: the experiment.
        measured: the thorough records of the finalists of all budgets.

    Raises:
        ValueError: if no measured candidate meets a budget.
    """
    judge, finalists = judge_of_finalists(bench), finalists_of(bench, measured.values())
    chosen = [best_under(budget, finalists, judge) for budget in bench.budgets]
    unseen = {name: unseen_below(name, bench.budgets, chosen, finalists) for name in _names(judge)}
    known = {name: difference for name, difference in unseen.items() if difference is not None}
    return [
        _choice(budget, best, _evidence(budget, best, finalists, judge, known))
        for budget, best in zip(bench.budgets, chosen, strict=True)
    ]


def _names(judge: Judge) -> list[str]:
    """Return the numbers that differences are told of: the one that decides, and the task's metric."""
    return [*dict.fromkeys([judge.decisive.name, judge.metric.name])]


def finalists_of(bench: Workbench, records: Iterable[dict[str, Any]]) -> list[Finalist]:
    """Return the candidates of records, with what they cost by the tables of today."""
    pairs = [(_candidate(bench, record), record) for record in records]
    return [Finalist(candidate, record, bench.costs(candidate)) for candidate, record in pairs]


def _choice(budget: Budget, best: Finalist, evidence: dict[str, Any]) -> Choice:
    candidate = best.candidate
    return Choice(
        budget, candidate.architecture, candidate.recipe, best.record["score"], dict(best.costs), evidence=evidence
    )


def _evidence(
    budget: Budget, best: Finalist, finalists: Sequence[Finalist], judge: Judge, unseen: Mapping[str, float]
) -> dict[str, Any]:
    name = judge.decisive.name
    equals = equals_of(best, budget, finalists, judge, unseen[name]) if name in unseen else []
    return {
        "judged_by": judge.name,
        judge.name: judge.value(best.record),
        "images": best.record["images"],
        "splits": best.record.get("splits", 1),
        "unseen_below": dict(unseen),
        "equals": [
            {"key": each.record["key"], "score": each.record["score"], judge.name: judge.value(each.record)}
            | dict(each.costs)
            for each in equals
        ],
    }


def describe_choices(bench: Workbench, choices: Sequence[Choice]) -> list[str]:
    """Return lines that say what could not be seen, and what is as good as the chosen subnets as far as is known."""
    evidence = choices[0].evidence
    if not evidence.get("unseen_below"):
        return []
    metric, unseen = bench.task.metric.name, evidence["unseen_below"]
    points = [f"{100 * unseen[metric]:.2g} points of {metric}"] if metric in unseen else []
    others = [f"{value:.2g} of {name}" for name, value in unseen.items() if name != metric]
    judged = "" if evidence["judged_by"] == "score" else f"; chosen by {evidence['judged_by']}"
    splits = f" of {evidence['splits']} splits" if evidence["splits"] > 1 else ""
    seen = f"{evidence['images']} held-out images{splits}: differences below {' or '.join([*points, *others])}"
    return [f"{seen} cannot be seen here{judged}", *map(_describe_equals, choices)]


def _describe_equals(choice: Choice) -> str:
    """Return how many are as good as the chosen one, and what the cheapest of them costs."""
    equals, name = choice.evidence["equals"], choice.budget or choice.budget.name
    if not equals:
        return f"{name}: no other finalist is as good as the chosen one, as far as can be seen"
    others = "1 other finalist is" if len(equals) == 1 else f"{len(equals)} other finalists are"
    (cost, *_), cheapest = cost_names(choice.budget), equals[0]
    if choice.costs[cost] <= cheapest[cost]:
        return f"{name}: {others} as good as can be seen; the chosen one is the cheapest"
    costs = f"{_plain(cost, cheapest[cost])}, the chosen one {_plain(cost, choice.costs[cost])}"
    return f"{name}: {others} as good as can be seen; the cheapest takes {costs}"


def _plain(cost: str, value: float) -> str:
    return f"{cost} {value:,.0f}{UNITS[cost]}" if value >= 1000 else f"{cost} {value:.4g}{UNITS[cost]}"


def write_choices(
    bench: Workbench, choices: Sequence[Choice], measured: Records, others: Iterable[dict[str, Any]]
) -> None:
    """Write ``choices.json``, ``pareto.csv`` and ``pareto.png`` into ``search/``.

    Args:
        bench: the experiment.
        choices: one for every budget.
        measured: the thorough records of all finalists.
        others: what the search learned from.
    """
    folder, judge = bench.folder / "search", judge_of_finalists(bench)
    finalists = [{**each.record, **each.costs} for each in finalists_of(bench, measured.values())]
    write_front(finalists, [*others], folder, judge, [choice.candidate.key for choice in choices])
    write_record(folder / CHOICES, [_to_json(choice) for choice in choices])


def write_expected(bench: Workbench, choices: Sequence[Choice]) -> None:
    """Write ``choices.json`` of choices that nothing was measured for."""
    write_record(bench.folder / "search" / CHOICES, [_to_json(choice) for choice in choices])


def load_choices(bench: Workbench) -> list[Choice]:
    """Load the subnets that the search chose.

    Raises:
        FileNotFoundError: if nothing was searched yet.
    """
    path = bench.folder / "search" / CHOICES
    if not is_there(path, bench.compute):
        raise FileNotFoundError(f"there are no search results in {bench.folder}; run the search stage first")
    return [_from_json(bench, entry) for entry in read_json(path)]


def _to_json(choice: Choice) -> dict[str, Any]:
    named = {"name": choice.budget.name, "budget": choice.budget.text}
    found = {"score": choice.score, "costs": choice.costs, "evidence": choice.evidence}
    return {**named, **choice.candidate.to_json(), **found}


def _from_json(bench: Workbench, entry: Mapping[str, Any]) -> Choice:
    found = _candidate(bench, entry)
    budget, evidence = Budget(entry["budget"]), entry.get("evidence", {})
    return Choice(budget, found.architecture, found.recipe, entry["score"], entry["costs"], evidence)


def _candidate(bench: Workbench, entry: Mapping[str, Any]) -> Candidate:
    """Return the candidate of a record."""
    recipe = Recipe.from_json(json.dumps(entry["recipe"])) if "recipe" in entry else None
    return Candidate(bench.space.architecture(entry["architecture"]), recipe)
