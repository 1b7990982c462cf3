"""Stage 2: find the best subnet under each budget."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nasvit.cost_tables import cost_table
from nasvit.data.loader import Batch
from nasvit.experiment import Workbench, made_for, write_json
from nasvit.provenance import plain_config
from nasvit.search.evaluate import InheritedWeights, Journal
from nasvit.search.pareto import write_front
from nasvit.search.run import search as run_search
from nasvit.stages.train import load_supernet
from predictors.cost import CostTable
from predictors.limits import Limit, require_feasible, violation
from predictors.pool import Constraint
from search_spaces import Architecture, Space


@dataclass(frozen=True)
class Choice:
    """The subnet chosen for one budget.

    Args:
        name: folder-safe name of the budget.
        budget: the limits as the user wrote them.
        architecture: the subnet.
        accuracy: on all validation images, with the supernet's weights, 0 to 1.
        macs: multiply-adds of one image.
        params: parameters.
        memory: most bytes of activations alive at once, float32, batch size 1.
    """

    name: str
    budget: str
    architecture: Architecture
    accuracy: float
    macs: int
    params: int
    memory: int


def check_budgets(bench: Workbench) -> None:
    """Refuse budgets that no subnet meets, before anything is trained.

    Raises:
        ValueError: naming the budget and the closest feasible values.
    """
    space, table = bench.space, cost_table(bench.space, len(bench.classes))
    ends = space.encode([space.smallest, space.largest])
    pool = np.concatenate([ends, space.genome.sample(4096, np.random.default_rng(0))])
    costs: dict[str, Any] = dict(table.costs(pool))
    for budget in bench.experiment.search.budgets:
        limits = bench.experiment.search.limits(budget)
        if all(np.isneginf(limit.low) for limit in limits):
            require_feasible({name: values[:1] for name, values in costs.items()}, limits)  # the smallest decides
        else:
            _require_reachable(space, table, limits, costs)


def _require_reachable(space: Space, table: CostTable, limits: tuple[Limit, ...], costs: dict[str, Any]) -> None:
    constraint = Constraint(space.genome, violation=lambda codes: violation(table.costs(codes), limits))
    try:
        constraint.sample(1, np.random.default_rng(0))
    except ValueError:
        require_feasible(costs, limits)
        raise


def search(bench: Workbench) -> list[Choice]:
    """Search the trained supernet under every budget; run again, it goes on where it was stopped.

    Writes ``search/evaluations.jsonl``, ``search/choices.json``, ``search/pareto.csv`` and ``search/pareto.png``.

    Returns:
        The chosen subnet of every budget.

    Raises:
        ValueError: for a budget that no subnet meets.
        FileNotFoundError: if no supernet was trained yet.
    """
    check_budgets(bench)
    config, space, folder = bench.experiment.search, bench.space, bench.folder / "search"
    supernet, table = load_supernet(bench), cost_table(bench.space, len(bench.classes))
    calibration = bench.calibration()
    validation = list(bench.evaluation_loader(bench.data.validation).evaluation_batches())
    some = _first_images(validation, config.images)

    def journal(name: str, batches: list[Batch]) -> Journal:
        measured = InheritedWeights(supernet, calibration, lambda: batches)
        return Journal(folder / name, space, lambda architecture: _measure(measured, table, space, architecture))

    quick = journal("evaluations.jsonl", some)
    thorough = quick if some is validation else journal("finalists.jsonl", validation)
    choices = _choose(bench, table, quick, thorough)
    chosen = [choice.architecture.key for choice in choices]
    write_front([*{**quick.records, **thorough.records}.values()], folder, chosen)
    write_json(folder / "choices.json", [_to_json(choice) for choice in choices])
    write_json(folder / "asked.json", plain_config(bench.experiment)["search"])
    return choices


def is_searched(bench: Workbench) -> bool:
    """Return whether there is a search result, and one for the budgets and the effort that are asked for now."""
    folder, asked = bench.folder / "search", plain_config(bench.experiment)["search"]
    return (folder / "choices.json").exists() and made_for(folder / "asked.json", asked)


def _choose(bench: Workbench, table: CostTable, quick: Journal, thorough: Journal) -> list[Choice]:
    """Search each budget in turn; what was learned under one serves the next."""
    config, space = bench.experiment.search, bench.space
    known: tuple[Any, Any] = (np.zeros((0, len(space.genome)), np.uint8), np.zeros(0))
    choices = []
    for number, budget in enumerate(config.budgets):
        limits = config.limits(budget)

        def outside(codes: Any, limits: tuple[Limit, ...] = limits) -> Any:
            return violation(table.costs(codes), limits)

        result = run_search(
            space.genome,
            quick.accuracies,
            budget=config.evaluations * (number + 1) // len(config.budgets),
            rng=np.random.default_rng([bench.experiment.seed, number]),
            violation=outside,
            proxies=lambda codes: np.log(np.stack([table.macs(codes), table.params(codes)], axis=1)),
            known=known,
        )
        known = (result.codes, result.scores)
        allowed = result.codes[outside(result.codes) <= 0]
        promising = allowed[np.argsort(-result.predictor.predict(allowed)[0], kind="stable")[: config.finalists]]
        records = [thorough.record(architecture) for architecture in space.decode(promising)]
        choices.append(_choice(space, budget, max(records, key=lambda record: record["accuracy"])))
    return choices


def _choice(space: Space, budget: str, record: dict[str, Any]) -> Choice:
    architecture = space.architecture(record["architecture"])
    costs = {name: record[name] for name in ("accuracy", "macs", "params", "memory")}
    return Choice(safe_name(budget), budget, architecture, **costs)


def _measure(
    measured: InheritedWeights, table: CostTable, space: Space, architecture: Architecture
) -> dict[str, float | int]:
    score = measured(architecture)
    costs = {name: int(values[0]) for name, values in table.costs(space.encode([architecture])).items()}
    return {"accuracy": score.accuracy, "class_accuracy": score.class_accuracy, "images": score.images, **costs}


def _first_images(batches: list[Batch], images: int) -> list[Batch]:
    """The first ``images`` validation images; 0 means all."""
    if not images or images >= sum(len(labels) for _, labels in batches):
        return batches
    some: list[Batch] = []
    for pixels, labels in batches:
        left = images - sum(len(seen) for _, seen in some)
        if left > 0:
            some.append((pixels[:left], labels[:left]))
    return some


def safe_name(budget: str) -> str:
    """Return a budget as a name for folders: ``macs<=2.5M and params<=1M`` becomes ``macs-2.5M_params-1M``."""
    return budget.replace(" and ", "_").replace("<=", "-").replace(">=", "+").replace("==", "=").replace(" ", "")


def _to_json(choice: Choice) -> dict[str, Any]:
    return {**asdict(choice), "architecture": json.loads(choice.architecture.to_json())}


def load_choices(bench: Workbench) -> list[Choice]:
    """Load what :func:`search` chose.

    Raises:
        FileNotFoundError: if nothing was searched yet.
    """
    path = bench.folder / "search" / "choices.json"
    if not path.exists():
        raise FileNotFoundError(f"there are no search results in {bench.folder}; run the search stage first")
    return [
        Choice(**{**entry, "architecture": bench.space.architecture(entry["architecture"])})
        for entry in json.loads(path.read_text(encoding="utf-8"))
    ]
