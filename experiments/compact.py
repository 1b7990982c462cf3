"""Train compact networks in several ways and compare them: one table of a list of YAML files, for several seeds.

    python -m experiments.compact experiments/compact/teacher_*.yaml --seeds 0 \
        --json experiments/results/compact_teachers.json
    python -m experiments.compact experiments/compact/cifar_*.yaml experiments/compact/caltech_*.yaml \
        experiments/compact/long_cifar_baseline.yaml --json experiments/results/compact_netaug.json
    python -m experiments.compact experiments/compact/mobilenet_*.yaml experiments/compact/ghost_*.yaml \
        --json experiments/results/compact_ghost.json

Killed and called again, it goes on. The teachers are to be trained first; the other files name their folders. Accuracy
is that of the deployed network on the test images; where classes are unbalanced, look at the mean over classes.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from nasvit.experiment.fit import fit
from nasvit.experiment.fit_config import FitConfig
from nasvit.records import write_json


@dataclass(frozen=True)
class Settings:
    """What is run.

    Args:
        files: YAML files, see :class:`nasvit.experiment.fit_config.FitConfig`.
        seeds: each file is trained once for each.
        folder: checkpoints and results go here.
        json: file for the table; none if left out.
    """

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    seeds: tuple[int, ...] = (0, 1)
    folder: Path = Path("runs/compact")
    json: Path | None = None


def run(settings: Settings) -> list[dict[str, Any]]:
    """Train everything, seed by seed, and return one row for each file."""
    results: dict[Path, list[dict[str, Any]]] = {file: [] for file in settings.files}
    for seed in settings.seeds:
        for file in settings.files:
            config = replace(FitConfig.load(file), seed=seed)
            result = fit(config, settings.folder / file.stem / str(seed))
            results[file].append(result)
            print(f"{file.stem:<24} seed {seed}  {_percent(result['deployed']['accuracy'])}", flush=True)
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


def _content(settings: Settings, results: dict[Path, list[dict[str, Any]]]) -> dict[str, Any]:
    finished = [each for each in results.values() if each]
    return {
        "command": f"python -m experiments.compact {' '.join(map(str, settings.files))}",
        "seeds": list(settings.seeds),
        "rows": _rows(results),
        "configs": {file.stem: of_file[0]["config"] for file, of_file in results.items() if of_file},
        "versions": finished[0][0]["versions"],
    }


def _rows(results: dict[Path, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [_row(file.stem, of_file) for file, of_file in results.items() if of_file]


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
