"""NetAug for a pruned network, beside training it on as it is for as many epochs.

    python -m experiments.netaug_pruned --json experiments/results/netaug_pruned.json

CIFAR-10: a network of 1.7 MMACs is trained, and pruned to 30 % of them as ``nasvit run`` does it, by how well features
agree. What is left is trained on as it is, and inside wider networks. The accuracy on the training images, without
augmentation, says whether a network is too small for them, which is what NetAug is for. Killed and called again, it
goes on. About ten minutes of one processor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import tyro
from torch import nn

from experiments.compact import FOLDER, INGREDIENTS
from nasvit.experiment.fit import DEPLOYED, fit, images_of
from nasvit.experiment.images import Images
from nasvit.experiment.pipeline import STAGES, held_workbench
from nasvit.experiment.stages.subjects import subjects
from nasvit.experiment.training import FitConfig
from nasvit.export.saved import load_network
from nasvit.files.records import versions, write_json
from nasvit.options import Overrides
from search_spaces.reading import load_yaml

BEGINNING = FOLDER / "double32.yaml"
WAYS = {"as it is": INGREDIENTS["baseline"], "netaug": INGREDIENTS["netaug"]}


@dataclass(frozen=True)
class Settings:
    """What is run.

    Args:
        seeds: of the trainings that are compared; the pruned network is one for all.
        images: training images, a tenth of which are held out.
        before: epochs before pruning.
        epochs: epochs of each training afterwards.
        learning_rate: its peak; that of a network that was trained already.
        keep: share of the multiply-adds that is left.
        source: the images.
        folder: checkpoints and results go here.
        json: file for the results; none if left out.
    """

    seeds: tuple[int, ...] = (0, 1)
    images: int = 15_000
    before: int = 6
    epochs: int = 5
    learning_rate: float = 0.05
    keep: str = "30%"
    source: str = "../shared/data/cifar10"
    folder: Path = Path("runs/netaug_pruned")
    json: Path | None = None

    def config(self, network: Path, epochs: int, seed: int, overrides: Overrides = ()) -> FitConfig:
        """Return a training of a network."""
        asked = (("network", str(network)), ("data.source", self.source), ("images", str(self.images)), *overrides)
        config = load_yaml(FitConfig, FOLDER / "cifar.yaml", (*asked, ("recipe.epochs", str(epochs))))
        return replace(config, seed=seed)


def pruned(settings: Settings) -> Path:
    """Train the network that is pruned, prune it, and return the folder of what is left."""
    start = settings.folder / "start"
    fit(settings.config(BEGINNING, settings.before, seed=0), start)
    asked = (
        ("network", str(BEGINNING)),
        ("weights", str(start / DEPLOYED)),
        ("data.source", settings.source),
        ("search.budgets", f"['macs<={settings.keep}']"),
    )
    with held_workbench(FOLDER / "pruned.yaml", settings.folder / "pruned", asked) as bench:
        STAGES["search"](bench)
        STAGES["extract"](bench)
        return subjects(bench)[0].folder / "extracted"


def accuracies(network: nn.Module, images: Images) -> dict[str, float]:
    """Return the accuracy of a network on the test images, and on the training images as they are."""
    found = {
        name: images.task.evaluate(network, images.evaluation_loader(each).evaluation_batches()).value
        for name, each in (("test", images.test), ("training", images.train))
    }
    return {name: round(value, 4) for name, value in found.items()}


def run(settings: Settings) -> dict[str, Any]:
    """Train everything, and return what is written of it."""
    folder = pruned(settings)
    trainings: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    rate = ("recipe.learning_rate", str(settings.learning_rate))
    for seed in settings.seeds:
        for way, ingredients in WAYS.items():
            config = settings.config(folder, settings.epochs, seed, (*ingredients, rate))
            output = settings.folder / way.replace(" ", "_") / str(seed)
            results, images = fit(config, output), images_of(config)
            images.open()
            found = accuracies(load_network(output / DEPLOYED), images)
            trainings[way].append({"seed": seed, **found, "seconds": results["training_seconds"]})
            print(f"{way:<8} seed {seed}  test {found['test']:.2%}  training {found['training']:.2%}", flush=True)
    return {
        "command": "python -m experiments.netaug_pruned",
        "settings": {name: str(value) for name, value in vars(settings).items()},
        "macs": results["macs"],
        "params": results["params"],
        "before": accuracies(load_network(folder), images),
        "trainings": trainings,
        "config": results["config"],
        "versions": versions(),
    }


def table(content: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    lines = ["| training | test | training images | seconds |", "|---|---:|---:|---:|"]
    lines.append("| pruned, before | {test:.1%} | {training:.1%} | |".format(**content["before"]))
    for way, rows in content["trainings"].items():
        cells = (f"{mean(values):.1%} ({', '.join(f'{each:.1%}' for each in values)})" for values in _columns(rows))
        lines.append(f"| {way} | {' | '.join(cells)} | {mean(row['seconds'] for row in rows):.0f} |")
    return "\n".join(lines)


def _columns(rows: list[dict[str, Any]]) -> list[list[float]]:
    return [[row[name] for row in rows] for name in ("test", "training")]


def main(settings: Settings) -> None:
    """Run everything, print the table and write the file."""
    content = run(settings)
    print(table(content))
    if settings.json is not None:
        write_json(settings.json, content)


if __name__ == "__main__":
    main(tyro.cli(Settings))
