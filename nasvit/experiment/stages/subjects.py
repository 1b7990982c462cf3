"""The subnets that the later stages work on: the chosen ones, and those for comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nasvit.experiment.stages.choice import load_choices
from nasvit.experiment.training import Training
from nasvit.experiment.workbench import Workbench
from nasvit.specs import Spec
from predictors.limits import Budget
from search_spaces import Subnet


@dataclass(frozen=True)
class Subject:
    """One subnet that the later stages extract, fine-tune and evaluate.

    Args:
        name: name of its folder.
        budget: the limits that it was chosen under; empty for a comparison.
        architecture: architecture of the subnet.
        training: its training: by the recipe found with it, or the experiment's.
        folder: folder of its networks.
        chosen: whether the search chose it; else others are compared with it.
    """

    name: str
    budget: Budget
    architecture: Subnet
    training: Training
    folder: Path
    chosen: bool

    def spec(self, bench: Workbench) -> Spec:
        """Return the spec of the subnet."""
        return bench.origin.spec(bench.space, self.architecture)


def subjects(bench: Workbench) -> list[Subject]:
    """Return the chosen subnets, then those the experiment compares them with.

    Raises:
        FileNotFoundError: if nothing was searched yet.
    """
    compare, training, ends = bench.experiment.compare, bench.experiment.finetune, bench.family or bench.space
    found = [
        (choice.budget.name, choice.budget, choice.architecture, training.by(choice.recipe or training.recipe))
        for choice in load_choices(bench)
    ]
    none, chosen = Budget(), len(found)
    if compare.ends:
        found += [("smallest", none, ends.smallest, training), ("largest", none, ends.largest, training)]
    found += [(name, none, each, training) for name, each in _random(bench, compare.random)]
    return [Subject(*each, bench.folder / "subnets" / each[0], number < chosen) for number, each in enumerate(found)]


def _random(bench: Workbench, count: int) -> list[tuple[str, Subnet]]:
    """Return random subnets to compare with the choice of every budget, by name.

    They keep the budget, and nearly use it up: of some that keep it, they have the most multiply-adds. Where there is
    no limit, or one architecture was given, they are any that the supernet holds.
    """
    rng, experiment = np.random.default_rng([bench.experiment.seed, 1]), bench.experiment
    if not all(bench.budgets) or experiment.search.architecture is not None:
        return [(f"random-{number}", each) for number, each in enumerate(bench.draw(count, rng))]
    found = []
    for budget in bench.budgets if count else ():
        drawn = bench.sample(budget, count, rng)
        found += [(f"{budget.name}-random-{number}", each) for number, each in enumerate(drawn)]
    return found
