"""Ways to train the supernet of an experiment, each for the same processor time.

    python -m experiments.benchmarks.supernet_start experiments/quickstart.yaml --seconds 60 --seeds 0 1 \
        --ways "" within_budgets=false members=one random_subnets=1 largest_first=0.2 resolution_first=0.3

A way is a list of fields of the experiment's ``train`` section, joined by commas; an empty one is the experiment as it
is. How many epochs fit into the time is found from a short training of the same way, so that each has a whole schedule
of learning rates; the time that it took in the end is reported. Every supernet is judged by the same subnets: of those
that meet a budget the ones nearest to its limit, calibrated. Reported is their mean accuracy on the test images, and
that of the one that is best on the held-out images.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import tyro

from nasvit.experiment.config import Experiment
from nasvit.experiment.stages.train import train
from nasvit.experiment.workbench import Workbench
from nasvit.layers.calibration import calibrate
from nasvit.search.candidates import Candidate
from nasvit.supernets.shared_network import SharedNetwork
from predictors.limits import Budget
from search_spaces import Subnet
from search_spaces.recipe import Recipe

_PILOT = 3  # epochs of the training that is timed first
_DRAWN = 2048  # subnets within a budget from which the judges are taken


@dataclass(frozen=True)
class Settings:
    """What is run.

    Args:
        experiment: a YAML file with budgets.
        seconds: processor time of each training.
        ways: fields of the ``train`` section, such as ``members=one,random_subnets=1``; empty: as the file says.
        seeds: one training of every way for each.
        subnets: of every budget, how many subnets judge a supernet.
        json: file for the result; none if left out.
    """

    experiment: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="EXPERIMENT.yaml")]
    seconds: float = 60.0
    ways: tuple[str, ...] = ("", "within_budgets=false", "members=one", "largest_first=0.2", "resolution_first=0.3")
    seeds: tuple[int, ...] = (0,)
    subnets: int = 12
    json: Path | None = None


def experiment_of(path: Path, way: str, seed: int) -> Experiment:
    """Return the experiment with its supernet trained in one way, and not evaluated in between.

    Raises:
        ValueError: for a field or value that the ``train`` section does not have, named as an option.
    """
    pairs = [part.partition("=") for part in way.split(",") if part]
    fields = [(f"train.{name.strip()}", value.strip()) for name, _, value in pairs]
    return Experiment.load(path, [*fields, ("seed", str(seed)), ("train.evaluate_every", "0")])


def lasting(experiment: Experiment, epochs: int) -> Experiment:
    """Return the experiment with so many epochs of the supernet, and as large a share of them to warm up in."""
    recipe = experiment.train.recipe
    share = recipe.warmup_epochs / recipe.epochs
    shorter: Recipe = replace(recipe, epochs=epochs, warmup_epochs=round(share * epochs))
    first = min(experiment.train.project_from, epochs - 1)
    return replace(experiment, train=replace(experiment.train, recipe=shorter, project_from=first))


def timed(experiment: Experiment, folder: Path) -> tuple[Workbench, SharedNetwork, float]:
    """Train a supernet, and return it with the processor seconds that it took, images and costs left aside."""
    bench = Workbench(experiment, folder)
    bench.images.open()
    bench.costs(Candidate(bench.space.smallest))  # counts the blocks, which is kept for the other trainings
    started = time.process_time()
    supernet = train(bench)
    return bench, supernet, time.process_time() - started


def judges(bench: Workbench, budget: Budget, count: int) -> list[Subnet]:
    """Return subnets within a budget, spread evenly over the quarter of most multiply-adds; the same in every way."""
    candidates = bench.whole_candidates
    pool = candidates.constraint(budget.limits).sample(_DRAWN, np.random.default_rng(0))
    near = pool[np.argsort(-candidates.costs(pool)["macs"], kind="stable")][: max(len(pool) // 4, 1)]
    chosen = near[np.linspace(0, len(near) - 1, min(count, len(near))).astype(int)]
    return [candidate.architecture for candidate in candidates.decode(chosen)]


def judge(bench: Workbench, supernet: SharedNetwork, subnets: list[Subnet]) -> dict[str, float]:
    """Return the mean score of subnets on the test images, and that of the one that is best on the held-out ones."""
    calibration = bench.calibration()
    networks = [calibrate(supernet.at(each), calibration) for each in subnets]
    held_out, test = (
        [score.value for score in bench.task.evaluate_all(networks, loader.evaluation_batches(), bench.compute)]
        for loader in map(bench.images.evaluation_loader, (bench.images.validation, bench.images.test))
    )
    sign = 1 if bench.task.metric.higher_is_better else -1
    return {"mean": mean(test), "best": test[int(np.argmax(sign * np.array(held_out)))]}


def measure(settings: Settings, way: str, seed: int) -> dict[str, Any]:
    """Train in one way for the time there is, and judge the supernet for every budget."""
    experiment = experiment_of(settings.experiment, way, seed)
    with TemporaryDirectory() as folder:
        _, _, pilot = timed(lasting(experiment, _PILOT), Path(folder) / "pilot")
        epochs = max(round(settings.seconds / pilot * _PILOT), 1)
        bench, supernet, seconds = timed(lasting(experiment, epochs), Path(folder) / "whole")
        row: dict[str, Any] = {"way": way or "as it is", "seed": seed, "epochs": epochs, "seconds": round(seconds, 1)}
        for budget in bench.budgets:
            scores = judge(bench, supernet, judges(bench, budget, settings.subnets))
            row[budget.name] = {name: round(score, 4) for name, score in scores.items()}
    return row


def main(settings: Settings) -> None:
    """Run all ways with all seeds, and print a line for each."""
    for way in settings.ways:
        experiment_of(settings.experiment, way, 0)  # a mistake in the last one shows before hours are spent
    rows = []
    for seed in settings.seeds:
        for way in settings.ways:
            rows.append(measure(settings, way, seed))
            print(json.dumps(rows[-1]), flush=True)
            if settings.json is not None:
                experiment = Experiment.load(settings.experiment)
                content = {"seconds": settings.seconds, "subnets": settings.subnets, "rows": rows}
                settings.json.write_text(json.dumps(content | experiment.provenance(), indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Settings))
