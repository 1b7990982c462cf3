"""What weights to start from are worth: few images of five classes, after many of five other ones, in one run.

    python -m experiments.benchmarks.transfer --data ../shared/data/cifar10 --json experiments/results/transfer.json

One network (``nasvit fit``) and one supernet are trained on many images of the first half of the classes. Then both
are trained on few images of the other half: from random weights, and from those (``weights``), by the same recipes for
the same epochs. ``nasvit run`` does the whole way to a network within a budget. Killed and called again, it goes on.
Accuracies are those on the test images of the other half; processor seconds are those of the whole way.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image

from nasvit.data import ImageSet, load_images
from nasvit.data.config import DataConfig
from nasvit.data.images import EncodedImages
from nasvit.experiment.config import Experiment, SearchConfig, TrainConfig
from nasvit.experiment.fit import fit
from nasvit.experiment.pipeline import run
from nasvit.experiment.stages.train import is_trained, train
from nasvit.experiment.training import FitConfig, StartingWeights, Training
from nasvit.experiment.workbench import Workbench
from nasvit.files.records import read_json, versions, write_json
from predictors.limits import Budget
from search_spaces.recipe import Recipe

SPACE = "micro32"
RECIPE = Recipe(
    optimizer="adamw", learning_rate=2e-3, weight_decay=0.02, epochs=1, batch_size=32, warmup_epochs=1, clip_norm=1.0
)
FIRST, OTHER = "first", "other"


@dataclass(frozen=True)
class Settings:
    """What is trained.

    Args:
        data: images of at least four classes, as in the data section of an experiment.
        out: folder of the two halves and of everything that is trained.
        many: training images of each class of the first half.
        few: training images of each class of the other half.
        tested: test images of each class.
        network: the network that ``fit`` trains.
        budget: what the network that ``run`` finds may cost.
        epochs: epochs on the first half.
        few_epochs: epochs on the other half, of ``fit``, of the supernet and of fine-tuning each.
        evaluations: candidates of the search.
        rates: factors on the learning rate of what was loaded, for ``fit``; 1 trains everything alike.
        seeds: one training of everything on the other half for each.
        threads: processor threads.
        json: file for the result; none if left out.
    """

    data: str
    out: Path = Path("runs/transfer")
    many: int = 400
    few: int = 40
    tested: int = 200
    network: str = f"{SPACE}:largest"
    budget: str = "macs<=4M"
    epochs: int = 5
    few_epochs: int = 15
    evaluations: int = 30
    rates: tuple[float, ...] = (1.0, 0.3)
    seeds: tuple[int, ...] = (0, 1)
    threads: int = 1
    json: Path | None = None


def write_halves(settings: Settings) -> None:
    """Write the images of both halves into folders, unless they are there."""
    done = settings.out / "images.json"
    asked = [settings.data, settings.many, settings.few, settings.tested]
    if done.exists() and read_json(done) == asked:
        return
    for part, counts in (("train", (settings.many, settings.few)), ("test", (settings.tested, settings.tested))):
        images = load_images(settings.data, part)  # type: ignore[arg-type]
        half = len(images.classes) // 2
        for number, label in enumerate(images.classes):
            folder = settings.out / "images" / (FIRST if number < half else OTHER) / part / label
            folder.mkdir(parents=True, exist_ok=True)
            of_class = np.flatnonzero(images.targets.numpy() == number)
            for index in of_class[: counts[number >= half]]:
                _image(images, int(index)).save(folder / f"{index}.png")
    write_json(done, asked)


def _image(images: ImageSet, index: int) -> Image.Image:
    if isinstance(images.images, EncodedImages):
        return images.images.open(index).convert("RGB")
    return Image.fromarray(images.images[index].permute(1, 2, 0).numpy())


def _data(settings: Settings, half: str) -> DataConfig:
    return DataConfig(str(settings.out / "images" / half), validation=0.1)


def _fit(settings: Settings, half: str, name: str, recipe: Recipe, seed: int = 0, weights: Path | None = None) -> Any:
    config = FitConfig(
        network=settings.network,
        data=_data(settings, half),
        recipe=recipe,
        weights=None if weights is None else StartingWeights(str(weights)),
        seed=seed,
        program=False,
        threads=settings.threads,
    )
    return fit(config, settings.out / name)


def _experiment(settings: Settings, half: str, recipe: Recipe, seed: int, weights: Path | None) -> Experiment:
    return Experiment(
        space=SPACE,
        data=_data(settings, half),
        search=SearchConfig(budgets=(Budget(settings.budget),), evaluations=settings.evaluations, finalists=3),
        finetune=Training(recipe=replace(RECIPE, learning_rate=1e-3, epochs=settings.few_epochs)),
        train=TrainConfig(recipe=recipe, random_subnets=1, evaluate_every=0),
        weights=None if weights is None else StartingWeights(str(weights)),
        seed=seed,
        threads=settings.threads,
    )


def _run(settings: Settings, name: str, recipe: Recipe, seed: int, weights: Path | None = None) -> dict[str, Any]:
    bench = Workbench(_experiment(settings, OTHER, recipe, seed, weights), settings.out / name)
    (row,) = run(bench)
    stages = read_json(bench.folder / "results.json")["times"]["stages"]
    seconds = round(sum(each["work"] for each in stages.values()), 1)
    return {"scores": row["scores"], "macs": row["macs"], "work_seconds": seconds}


def first_half(settings: Settings) -> tuple[Path, Path]:
    """Train the network and the supernet on the first half; return where their weights are."""
    recipe = replace(RECIPE, epochs=settings.epochs)
    _fit(settings, FIRST, "first-fit", recipe)
    bench = Workbench(_experiment(settings, FIRST, recipe, 0, None), settings.out / "first-supernet")
    if not is_trained(bench):
        train(bench)
    return settings.out / "first-fit" / "deployed", bench.folder


def other_half(settings: Settings, network: Path, supernet: Path) -> list[dict[str, Any]]:
    """Train on the other half in every way; return a row for each way and seed."""
    plain = replace(RECIPE, epochs=settings.few_epochs)
    rows = []
    for seed in settings.seeds:
        for rate in (None, *settings.rates):
            way = "random" if rate is None else f"weights-{rate:g}"
            recipe = plain if rate is None else replace(plain, loaded_rate=rate)
            name = f"{way}-{seed}"
            fitted = _fit(settings, OTHER, f"fit-{name}", recipe, seed, None if rate is None else network)
            row: dict[str, Any] = {"start": way, "seed": seed, "fit": fitted["deployed"]["accuracy"]}
            if rate in (None, 1.0):
                row["run"] = _run(settings, f"run-{name}", recipe, seed, None if rate is None else supernet)
            print(row, flush=True)
            rows.append(row)
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the mean accuracies of every way."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        of_way = found.setdefault(row["start"], {})
        of_way.setdefault("fit", []).append(row["fit"])
        if "run" in row:
            of_way.setdefault("run", []).append(row["run"]["scores"]["finetuned"])
    return {
        way: {name: round(statistics.mean(scores), 4) for name, scores in of_way.items()}
        for way, of_way in found.items()
    }


def main(settings: Settings) -> None:
    """Train everything, and print the means."""
    torch.set_num_threads(settings.threads)
    write_halves(settings)
    rows = other_half(settings, *first_half(settings))
    means = summary(rows)
    for way, scores in means.items():
        print(f"{way}: {', '.join(f'{name} {score:.2%}' for name, score in scores.items())}")
    if settings.json is not None:
        config = {name: value for name, value in asdict(settings).items() if name not in ("json", "out")}
        command = "python -m experiments.benchmarks.transfer"
        content = {"command": command, "config": config, "means": means, "rows": rows, "versions": versions()}
        write_json(settings.json, content)


if __name__ == "__main__":
    main(tyro.cli(Settings))
