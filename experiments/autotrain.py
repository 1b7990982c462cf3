"""AutoTrain in small: a recipe that was searched for one network, carried over to others, with and without averages.

    python -m experiments.autotrain --seeds 0 1

The recipe is searched for the smallest subnet of ``micro32`` alone, every candidate trained from random weights for two
epochs of a fifth of CIFAR-10's training images, and judged by images held out. Then that network and three others are
trained by the recipe found and by the project's own (``nasvit.experiment.compose``) for equally many epochs, each with
a moving average of the weights and without; accuracy on the test images. Killed and called again, it goes on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import tyro

from experiments.rows import Row, Rows
from nasvit.data.config import DataConfig
from nasvit.experiment.compose import FROM_SCRATCH, RECIPE
from nasvit.experiment.config import Experiment, SearchConfig
from nasvit.experiment.fit import fit
from nasvit.experiment.pipeline import run
from nasvit.experiment.training import FitConfig, Training
from nasvit.experiment.workbench import Workbench
from search_spaces.recipe import Recipe

RECIPES = "experiments/autotrain_recipes.yaml"
SEARCHED_FOR = "micro32:smallest"
NETWORKS = (SEARCHED_FOR, "micro32:largest", "mbv2-0.35@32", "ghostnet_v3-0.5@32")
COMMAND = "python -m experiments.autotrain --seeds 0 1"
AVERAGED = 0.98
"""Decay of the moving average, which then reaches back a tenth of an epoch."""


@dataclass(frozen=True)
class Settings:
    """What is run.

    Args:
        seeds: seeds of weights and batches of the trainings that are compared; the search has the first.
        evaluations: recipes that are tried.
        epochs: epochs of everything, of 10,000 images.
        source: folder of CIFAR-10's images.
        folder: checkpoints go here.
        json: file of the results.
    """

    seeds: tuple[int, ...] = (0, 1)
    evaluations: int = 24
    epochs: int = 2
    source: str = "../shared/data/cifar10"
    folder: Path = Path("runs/autotrain")
    json: Path = Path("experiments/results/autotrain.json")

    @property
    def data(self) -> DataConfig:
        """A fifth of the training images; the others are held out."""
        return DataConfig(self.source, validation=0.8)

    @property
    def own(self) -> Recipe:
        """The project's recipe of a training from random weights."""
        return replace(RECIPE, learning_rate=FROM_SCRATCH, epochs=self.epochs)


def search_recipe(settings: Settings) -> Recipe:
    """Search the recipe of one network, or read what was found before."""
    search = SearchConfig(
        architecture=SEARCHED_FOR.partition(":")[2],
        recipes=RECIPES,
        evaluate="scratch",
        evaluations=settings.evaluations,
        finalists=2,
        splits=1,
        images=2500,
    )
    experiment = Experiment(
        space=SEARCHED_FOR.partition(":")[0],
        data=settings.data,
        search=search,
        finetune=Training(recipe=settings.own),
        finetune_on="train",
        seed=settings.seeds[0],
    )
    (row,) = run(Workbench(experiment, settings.folder / "search"))
    return Recipe(**row["recipe"])


def train(settings: Settings, network: str, recipe: Recipe, averaged: bool, seed: int, folder: Path) -> Row:
    """Return the test accuracy of a network after a training from random weights, in percent."""
    recipe = replace(recipe, ema_decay=AVERAGED if averaged else 0.0)
    config = FitConfig(network=network, data=settings.data, recipe=recipe, seed=seed, program=False)
    return {"accuracy": round(100 * float(fit(config, folder)["deployed"]["accuracy"]), 2)}


def main(settings: Settings) -> None:
    """Search, train everything that is not trained yet, and write a row after each."""
    found = search_recipe(settings)
    print(found, flush=True)
    rows = Rows(settings.json, COMMAND, recipe_found=asdict(found))
    recipes, averages = {"own": settings.own, "found": found}, (False, True)
    for averaged, seed, network, name in product(averages, settings.seeds, NETWORKS, recipes):
        about = {"network": network, "recipe": name, "averaged": averaged, "seed": seed}
        parts = (network.replace(":", "_"), name, "averaged" if averaged else "plain", str(seed))
        folder = settings.folder / "-".join(parts)
        rows.make(about, partial(train, settings, network, recipes[name], averaged, seed, folder))


if __name__ == "__main__":
    main(tyro.cli(Settings))
