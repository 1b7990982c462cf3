"""What each part of NASViT's training is worth in small: projection, switchable scales, weak augmentation.

    python -m experiments.nasvit_parts --seeds 0 1

Supernets of ``micro32`` (convolutions and transformer blocks) on a fifth of CIFAR-10's training images, all parts on,
and each of them off; and of ``micro32_conv``, its twin without transformer blocks, whose conflicts are compared with
those of ``micro32``. Seeds are of weights, batches and subnets. Test accuracies are those of subnets in the supernet,
calibrated: the smallest, the mean of four random ones (the same in all trainings of a space) and the largest. Killed
and called again, it goes on.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import search_spaces
from experiments.conflict import logged_conflicts
from experiments.rows import Row, Rows
from nasvit.data.config import DataConfig
from nasvit.experiment.config import SUPERNET_RECIPE, Experiment, SearchConfig, TrainConfig
from nasvit.experiment.stages.train import train
from nasvit.experiment.training import Training
from nasvit.experiment.workbench import Workbench
from nasvit.files.whole import write_text
from nasvit.layers.calibration import calibrate
from predictors.limits import Budget

STRONG: dict[str, Any] = {
    "randaugment": 9,
    "random_erasing": 0.25,
    "mixup": 0.8,
    "cutmix": 1.0,
    "label_smoothing": 0.1,
}
"""The augmentation with which DeiT is trained (Touvron et al. 2021, table 9)."""

RANDOM = 4  # random subnets that are looked at


def _one_scale(experiment: Experiment, folder: Path) -> Experiment:
    text = (Path(search_spaces.__file__).parent / "catalog" / "micro32.yaml").read_text(encoding="utf-8")
    path = folder / "one_scale.yaml"
    write_text(path, text.replace("transformer: {", "transformer: {scale: shared, "))
    return replace(experiment, space=str(path))


def _strong(experiment: Experiment, folder: Path) -> Experiment:
    recipe = replace(experiment.train.recipe, **STRONG)
    return replace(experiment, train=replace(experiment.train, recipe=recipe))


def _measured(experiment: Experiment, folder: Path) -> Experiment:
    return replace(experiment, train=replace(experiment.train, conflict="measure"))


def _convolutions(experiment: Experiment, folder: Path) -> Experiment:
    return replace(_measured(experiment, folder), space="micro32_conv")


WAYS: dict[str, Callable[[Experiment, Path], Experiment]] = {
    "all parts": lambda experiment, folder: experiment,
    "without projection": _measured,
    "one scale for all": _one_scale,
    "strong augmentation": _strong,
    "convolutions, without projection": _convolutions,
}


@dataclass(frozen=True)
class Settings:
    """What is run.

    Args:
        seeds: seeds of every way.
        ways: some of the ways; all if left out.
        epochs: epochs of every supernet, of 10,000 images.
        source: folder of CIFAR-10's images.
        folder: checkpoints go here.
        json: file of the results.
    """

    seeds: tuple[int, ...] = (0, 1)
    ways: tuple[str, ...] = tuple(WAYS)
    epochs: int = 3
    source: str = "../shared/data/cifar10"
    folder: Path = Path("runs/nasvit_parts")
    json: Path = Path("experiments/results/nasvit_parts.json")

    @property
    def experiment(self) -> Experiment:
        """All parts on."""
        recipe = replace(
            SUPERNET_RECIPE, learning_rate=2e-3, epochs=self.epochs, batch_size=64, warmup_epochs=1, ema_decay=0.0
        )
        return Experiment(
            space="micro32",
            data=DataConfig(self.source, validation=0.8),
            train=TrainConfig(recipe=recipe, within_budgets=False, evaluate_every=0),
            search=SearchConfig(budgets=(Budget("macs<=5M"),)),
            finetune=Training(recipe=recipe),
        )


def run(settings: Settings, way: str, seed: int) -> Row:
    """Train a supernet in one way and return what its subnets score."""
    folder = settings.folder / f"{way.replace(' ', '_').replace(',', '')}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    bench = Workbench(replace(WAYS[way](settings.experiment, folder), seed=seed), folder)
    supernet = train(bench)
    rng, space, calibration = np.random.default_rng(0), bench.space, bench.calibration()
    subnets = [space.smallest, space.largest, *(space.sample(rng) for _ in range(RANDOM))]
    networks = [calibrate(supernet.at(each), calibration) for each in subnets]
    batches = bench.images.evaluation_loader(bench.images.test).evaluation_batches()
    smallest, largest, *others = (score.value for score in bench.task.evaluate_all(networks, batches, bench.compute))
    scores = {"smallest": smallest, "random": statistics.mean(others), "largest": largest}
    percent = {name: round(100 * value, 2) for name, value in scores.items()}
    return {**percent, "conflicts": logged_conflicts(folder)}


def main(settings: Settings) -> None:
    """Train everything that is not trained yet, and write a row after each."""
    command = "python -m experiments.nasvit_parts --seeds 0 1"
    rows = Rows(settings.json, command, **settings.experiment.provenance())
    for seed, way in product(settings.seeds, settings.ways):
        rows.make({"way": way, "seed": seed}, partial(run, settings, way, seed))


if __name__ == "__main__":
    main(tyro.cli(Settings))
