"""What weights of our own are worth for few photos: ten classes of animals, after thirty classes of things.

    python -m experiments.photo_sets ../shared/data/caltech101_144px runs/photos
    python -m experiments.photo_transfer --seeds 0 1

The network is the one that the prior of ``micro128`` expects to be best within 20 million multiply-adds. It is trained
on ``things``, which share no image and no class with ``animals``, and then on ``animals``: from random weights and from
those, all of them learning at the same rate or the loaded ones at a third of it. Accuracies are those on the test
images. A row is added after every training; killed and called again, it goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import tyro

from experiments.rows import Rows
from experiments.worth import SETTINGS, prior_choices
from nasvit.experiment.compose import FROM_SCRATCH, RECIPE
from nasvit.experiment.fit import fit
from nasvit.experiment.training import FitConfig, StartingWeights

ANIMALS = SETTINGS["animals"]
STARTS = {"random": None, "weights": 1.0, "weights, loaded at a third": 0.3}
"""What a training starts from, and the factor of the rate at which what was loaded learns."""

NETWORK = "network.json"


@dataclass(frozen=True)
class Settings:
    """What is trained.

    Args:
        seeds: seeds of weights and batches on the animals.
        epochs: epochs on the animals; each number is a training of its own.
        things_epochs: epochs on the things.
        folder: networks go here.
        json: file of the results.
    """

    seeds: tuple[int, ...] = (0, 1)
    epochs: tuple[int, ...] = (15,)
    things_epochs: int = 40
    folder: Path = Path("runs/photo_transfer")
    json: Path = Path("experiments/results/photo_transfer.json")


def train(photos: str, epochs: int, folder: Path, *, seed: int = 0, factor: float | None = None) -> dict[str, Any]:
    """Train the network on a set of photos; return its test accuracy in percent, and the seconds that it took.

    Args:
        photos: name of the set.
        epochs: epochs.
        folder: folder of the results, beside those of the others.
        seed: of weights and batches.
        factor: of the rate at which the weights learn that the training on the things left; None: none are loaded.
    """
    recipe = replace(RECIPE, learning_rate=FROM_SCRATCH, batch_size=ANIMALS.batch_size, epochs=epochs)
    config = FitConfig(
        network=f"{ANIMALS.space}:{folder.parent / NETWORK}",
        data=replace(ANIMALS.data, source=f"runs/photos/{photos}"),
        recipe=recipe if factor is None else replace(recipe, loaded_rate=factor),
        weights=None if factor is None else StartingWeights(str(folder.parent / "things" / "deployed")),
        seed=seed,
        program=False,
        threads=1,
    )
    results = fit(config, folder)
    return {"accuracy": round(100 * results["deployed"]["accuracy"], 2), "seconds": round(results["training_seconds"])}


def main(settings: Settings) -> None:
    """Train on the things, then on the animals from all starts, and write a row after each."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    network = settings.folder / NETWORK
    if not network.exists():
        network.write_text(prior_choices(ANIMALS)[0].to_json(), encoding="utf-8")
    things = train("things", settings.things_epochs, settings.folder / "things")
    rows = Rows(settings.json, "python -m experiments.photo_transfer --seeds 0 1", things=things)
    for epochs, seed, (start, factor) in product(settings.epochs, settings.seeds, STARTS.items()):
        folder = settings.folder / f"{'random' if factor is None else factor}-{epochs}-{seed}"
        about = {"start": start, "epochs": epochs, "seed": seed}
        rows.make(about, partial(train, "animals", epochs, folder, seed=seed, factor=factor))


if __name__ == "__main__":
    main(tyro.cli(Settings))
