"""Is it worth searching architecture and recipe together? Joint, architecture-only and recipe-only at equal cost.

    nasvit run experiments/cifar10.yaml
    python -m experiments.joint_search experiments/cifar10.yaml runs/cifar10 --seeds 0 1

Every search fine-tunes equally many candidates on equally many images from the same supernet, under the same limit.
Then what it chose is fine-tuned on all training images and tested. "architecture" keeps the experiment's recipe;
"recipe" keeps the architecture that the supernet's own search chose under that limit. Seeds are of the search;
supernet and data are one.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from nasvit.experiment import pipeline
from nasvit.experiment.config import CompareConfig, Experiment, SearchConfig
from nasvit.experiment.workbench import Workbench
from nasvit.files.records import write_json
from predictors.limits import Budget

RECIPES = "experiments/joint_recipes.yaml"
What = Literal["joint", "architecture", "recipe"]


@dataclass(frozen=True)
class Settings:
    """What is run.

    Args:
        experiment: the supernet's YAML file.
        supernet: folder of its results.
        budget: limit of the architectures; the supernet's experiment must have searched under it.
        seeds: searches of each kind.
        evaluations: candidates fine-tuned in each search.
        train_images: training images that a candidate sees an epoch.
        images: validation images that it is judged by.
        output: folder of the runs.
        json: file for the result; none if left out.
    """

    experiment: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="EXPERIMENT.yaml")]
    supernet: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]
    budget: str = "macs<=5M"
    seeds: tuple[int, ...] = (0, 1)
    evaluations: int = 24
    train_images: int = 3000
    images: int = 2500
    output: Path = Path("runs/joint")
    json: Path | None = None


def run_search(settings: Settings, what: What, seed: int) -> dict[str, Any]:
    """Search, fine-tune what was found and return its row."""
    base = Experiment.load(settings.experiment)
    search = SearchConfig(
        budgets=() if what == "recipe" else (Budget(settings.budget),),
        architecture=str(_searched(settings)) if what == "recipe" else None,
        recipes=None if what == "architecture" else RECIPES,
        evaluate="finetune",
        evaluations=settings.evaluations,
        finalists=1,
        images=settings.images,
        train_images=settings.train_images,
        seed=seed,
    )
    bench = Workbench(replace(base, search=search, compare=CompareConfig()), settings.output / f"{what}-{seed}")
    bench.folder.mkdir(parents=True, exist_ok=True)
    if not (bench.folder / "supernet.pt").exists():
        os.link((settings.supernet / "supernet.pt").resolve(), bench.folder / "supernet.pt")
        shutil.copy(settings.supernet / "split.json", bench.folder / "split.json")
    row = pipeline.run(bench)[0]
    lines = (bench.folder / "search" / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()
    return {"search": what, "seed": seed, "best_evaluated": max(json.loads(line)["score"] for line in lines), **row}


def _searched(settings: Settings) -> Path:
    """Write the architecture that the supernet's own search chose to a file."""
    rows = json.loads((settings.supernet / "results.json").read_text(encoding="utf-8"))["rows"]
    found = next(row for row in rows if row["budget"] == settings.budget)
    path = settings.output / "architecture.json"
    write_json(path, found["architecture"])
    return path


def main(settings: Settings) -> None:
    """Run all searches and print the table."""
    rows = []
    for seed in settings.seeds:
        for what in ("joint", "architecture", "recipe"):
            row = run_search(settings, what, seed)
            rows.append(row)
            print(_line(row), flush=True)
    for what in ("joint", "architecture", "recipe"):
        tested = [100 * row["scores"]["finetuned"] for row in rows if row["search"] == what]
        print(f"{what:13} {statistics.mean(tested):.2f} % ({', '.join(f'{each:.2f}' for each in tested)})")
    if settings.json is not None:
        asked = {name: value for name, value in vars(settings).items() if name not in ("supernet", "output", "json")}
        command = "python -m experiments.joint_search experiments/cifar10.yaml runs/cifar10"
        made_with = Experiment.load(settings.experiment).provenance()
        content = {"command": command, "settings": asked, "rows": rows, **made_with}
        write_json(settings.json, json.loads(json.dumps(content, default=str)))


def _line(row: dict[str, Any]) -> str:
    recipe = json.dumps({name: value for name, value in row["recipe"].items() if value}, separators=(", ", " "))
    return (
        f"{row['search']:13} seed {row['seed']}: test {100 * row['scores']['finetuned']:.2f} %, best candidate "
        f"{100 * row['best_evaluated']:.2f} % of the validation images, {row['macs'] / 1e6:.2f} MMACs, {recipe}"
    )


if __name__ == "__main__":
    main(tyro.cli(Settings))
