"""The subnets that the later stages work on: the chosen ones, and what they are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nasvit.experiment.stages.search import load_choices
from nasvit.experiment.workbench import Workbench
from search_spaces import Architecture
from search_spaces.recipe import Recipe


@dataclass(frozen=True)
class Subject:
    """One subnet on its way from the supernet to the user.

    Args:
        name: of its folder.
        budget: the limits it was chosen under; empty for a comparison.
        architecture: what it is.
        recipe: what it is trained by: found with it, or the experiment's.
        folder: where its networks go.
    """

    name: str
    budget: str
    architecture: Architecture
    recipe: Recipe
    folder: Path


def subjects(bench: Workbench) -> list[Subject]:
    """Return the chosen subnets, then those the experiment compares them with.

    Raises:
        FileNotFoundError: if nothing was searched yet.
    """
    compare, space, recipe = bench.experiment.compare, bench.space, bench.experiment.finetune
    found = [
        (choice.name, choice.budget, choice.architecture, choice.recipe or recipe) for choice in load_choices(bench)
    ]
    if compare.ends:
        found += [("smallest", "", space.smallest, recipe), ("largest", "", space.largest, recipe)]
    rng = np.random.default_rng([bench.experiment.seed, 1])
    found += [(f"random-{number}", "", space.sample(rng), recipe) for number in range(compare.random)]
    return [Subject(*each, bench.folder / "subnets" / each[0]) for each in found]
