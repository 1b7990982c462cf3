"""Train compact networks in several ways and compare them: one table of trainings, for several seeds.

    python -m experiments.compact teachers --seeds 0 --json experiments/results/compact_teachers.json
    python -m experiments.compact netaug --json experiments/results/compact_netaug.json
    python -m experiments.compact netaug_few_steps --seeds 0 --json experiments/results/compact_netaug_few_steps.json
    python -m experiments.compact ghost --json experiments/results/compact_ghost.json

Killed and called again, it goes on. The teachers are to be trained first; other trainings name their folders. Accuracy
is that of the deployed network on the test images; where classes are unbalanced, look at the mean over classes.

A training is a file of ``experiments/compact`` and the ingredients that are laid over it, as options of ``nasvit fit``:
``cifar_netaug`` is ``nasvit fit experiments/compact/cifar.yaml --netaug.width "[1, 1.8, 2.6]" ...``. Single trainings
may be asked for by their names, too.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from nasvit.experiment.fit import fit
from nasvit.experiment.training import FitConfig
from nasvit.files.records import write_json
from nasvit.options import Overrides
from search_spaces.reading import legal_names, load_yaml

FOLDER = Path("experiments/compact")
INGREDIENTS: dict[str, Overrides] = {
    "baseline": (),
    "dropout": (("recipe.dropout", "0.2"),),
    "mixup": (("recipe.mixup", "0.2"),),
    "double": (("network", str(FOLDER / "double32.yaml")),),
    "netaug": (("netaug.width", "[1, 1.8, 2.6]"), ("netaug.expand", "[1, 1.6, 2.2, 2.8]")),
    "branches": (("branches.count", "3"),),
    "without_1x1": (("branches.scale", "false"),),
    "distilled": (("teacher.distillation", "{alpha: 0.5, temperature: 1}"),),
}
FEW_STEPS = (("images", "2500"), ("recipe.learning_rate", "0.05"), ("recipe.batch_size", "32"), ("recipe.epochs", "6"))


@dataclass(frozen=True)
class Training:
    """One training of a table.

    Args:
        name: of its row and its folder.
        file: what it begins with.
        overrides: what is laid over the file.
    """

    name: str
    file: Path
    overrides: Overrides = ()

    def config(self, seed: int) -> FitConfig:
        """Return what is trained."""
        return replace(load_yaml(FitConfig, self.file, self.overrides), seed=seed)


def _with(file: str, *ingredients: str) -> Training:
    """A file of the folder with ingredients, and the name that says so."""
    overrides = sum((INGREDIENTS[each] for each in ingredients), ())
    if "distilled" in ingredients:
        teacher = "teacher_caltech" if file == "caltech" else "teacher_cifar"
        overrides += (("teacher.network", f"runs/compact/{teacher}/0/deployed"),)
    return Training("_".join((file, *ingredients)), FOLDER / f"{file}.yaml", overrides)


def _tiny(file: str) -> list[Training]:
    ways = (["baseline"], ["distilled"], ["dropout"], ["mixup"], ["netaug"], ["netaug", "distilled"])
    return [_with(file, *way) for way in ways]


def _strategy(file: str) -> list[Training]:
    ways = [["baseline"], ["branches"], ["branches", "distilled"], ["branches", "distilled", "mixup"]]
    return [_with(file, *way) for way in (*ways, ["branches", "without_1x1"], ["distilled"])]


_CIFAR = [*_tiny("cifar"), _with("cifar", "double", "baseline"), _with("cifar", "double", "netaug")]
TABLES: dict[str, list[Training]] = {
    "teachers": [
        Training("teacher_caltech", FOLDER / "caltech.yaml", (("network", str(FOLDER / "wide48.yaml")),)),
        Training("teacher_cifar", FOLDER / "cifar.yaml", (("network", str(FOLDER / "wide32.yaml")),)),
    ],
    "netaug": [
        *_CIFAR,
        *_tiny("caltech"),
        # for as long as NetAug takes for 5 epochs
        Training("long_cifar_baseline", FOLDER / "cifar.yaml", (("recipe.epochs", "18"),)),
    ],
    "netaug_few_steps": [
        replace(each, name=f"few_steps_{each.name}", overrides=each.overrides + FEW_STEPS) for each in _CIFAR
    ],
    "ghost": [*_strategy("mobilenet"), *_strategy("ghost")],
}
"""Tables of docs/results/compact.md, and one of its remarks."""


@dataclass(frozen=True)
class Settings:
    """What is run.

    Args:
        names: tables, or single trainings of them.
        seeds: each training is run once for each.
        folder: checkpoints and results go here.
        json: file for the table; none if left out.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional]
    seeds: tuple[int, ...] = (0, 1)
    folder: Path = Path("runs/compact")
    json: Path | None = None

    @property
    def trainings(self) -> list[Training]:
        """What the names stand for.

        Raises:
            ValueError: a name that stands for nothing.
        """
        single = {training.name: [training] for table in TABLES.values() for training in table}
        for name in self.names:
            if name not in TABLES | single:
                raise ValueError(f"{name!r} is no table and no training; {legal_names(name, TABLES | single)}")
        return [training for name in self.names for training in (TABLES | single)[name]]


def run(settings: Settings) -> list[dict[str, Any]]:
    """Train everything, seed by seed, and return one row for each training."""
    results: dict[Training, list[dict[str, Any]]] = {training: [] for training in settings.trainings}
    for seed in settings.seeds:
        for training in results:
            result = fit(training.config(seed), settings.folder / training.name / str(seed))
            results[training].append(result)
            print(f"{training.name:<24} seed {seed}  {_percent(result['deployed']['accuracy'])}", flush=True)
            if settings.json is not None:
                write_json(settings.json, _content(settings, results))
    return _rows(results)


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as Markdown."""
    lines = ["| training | network | MACs | accuracy | mean over classes | seconds |", "|---|---|---:|---:|---:|---:|"]
    for row in rows:
        accuracy = f"{_percent(row['accuracy'])} ({', '.join(map(_percent, row['accuracies']))})"
        lines.append(
            f"| {row['name']} | {row['network']} | {row['macs']:,} | {accuracy} | {_percent(row['class_accuracy'])} | "
            f"{row['training_seconds']:.0f} |"
        )
    return "\n".join(lines)


def _content(settings: Settings, results: dict[Training, list[dict[str, Any]]]) -> dict[str, Any]:
    finished = [each for each in results.values() if each]
    seeds = " ".join(map(str, settings.seeds))
    return {
        "command": f"python -m experiments.compact {' '.join(settings.names)} --seeds {seeds}",
        "seeds": list(settings.seeds),
        "rows": _rows(results),
        "configs": {training.name: of_it[0]["config"] for training, of_it in results.items() if of_it},
        "versions": finished[0][0]["versions"],
    }


def _rows(results: dict[Training, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [_row(training.name, of_it) for training, of_it in results.items() if of_it]


def _row(name: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    first = results[0]
    row = {
        "name": name,
        "network": first["config"]["network"],
        "macs": first["macs"],
        "params": first["params"],
        "training_params": first["training_params"],
        "training_images": first["training_images"],
        "epochs": first["config"]["recipe"]["epochs"],
        "test_images": first["test_images"],
        "accuracies": [result["deployed"]["accuracy"] for result in results],
        "accuracy": statistics.mean(result["deployed"]["accuracy"] for result in results),
        "class_accuracies": [result["deployed"]["class_accuracy"] for result in results],
        "class_accuracy": statistics.mean(result["deployed"]["class_accuracy"] for result in results),
        "training_seconds": statistics.mean(result["training_seconds"] for result in results),
    }
    if "before_fusing" in first:
        row["accuracies_before_fusing"] = [result["before_fusing"]["accuracy"] for result in results]
    return row


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def main(settings: Settings) -> None:
    """Run everything and print the table."""
    print(table(run(settings)))


if __name__ == "__main__":
    main(tyro.cli(Settings))
