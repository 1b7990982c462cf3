"""The subnets that the later stages work on: the chosen ones, and what they are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nasvit.experiment.stages.search import load_choices
from nasvit.experiment.training import Training
from nasvit.experiment.workbench import Workbench
from nasvit.specs import SubnetSpec
from predictors.limits import Budget
from search_spaces import Architecture


@dataclass(frozen=True)
class Subject:
    """One subnet on its way from the supernet to the user.

    Args:
        name: of its folder.
        budget: the limits it was chosen under; empty for a comparison.
        architecture: what it is.
        training: how it is trained: by the recipe found with it, or the experiment's.
        folder: where its networks go.
    """

    name: str
    budget: Budget
    architecture: Architecture
    training: Training
    folder: Path

    def spec(self, bench: Workbench) -> SubnetSpec:
        """Return what the network is."""
        return SubnetSpec(bench.space, self.architecture)


def subjects(bench: Workbench) -> list[Subject]:
    """Return the chosen subnets, then those the experiment compares them with.

    Raises:
        FileNotFoundError: if nothing was searched yet.
    """
    compare, space, training = bench.experiment.compare, bench.space, bench.experiment.finetune
    found = [
        (choice.budget.name, choice.budget, choice.architecture, training.by(choice.recipe or training.recipe))
        for choice in load_choices(bench)
    ]
    none = Budget()
    if compare.ends:
        found += [("smallest", none, space.smallest, training), ("largest", none, space.largest, training)]
    rng = np.random.default_rng([bench.experiment.seed, 1])
    found += [(f"random-{number}", none, space.sample(rng), training) for number in range(compare.random)]
    return [Subject(*each, bench.folder / "subnets" / each[0]) for each in found]
