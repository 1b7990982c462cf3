"""The seed of an experiment decides everything that is drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nasvit.experiment.pipeline import open_workbench
from nasvit.experiment.stages.search import search
from nasvit.experiment.stages.subjects import subjects
from nasvit.experiment.stages.train import train
from nasvit.experiment.workbench import Workbench
from tests.nasvit.experiment.tiny import write_experiment

QUICK = {
    "recipe": "  recipe: {optimizer: adamw, learning_rate: 4e-3, epochs: 1, batch_size: 64}",
    "random_subnets": "  random_subnets: 0",
    "evaluate_every": "  evaluate_every: 0",
    "budgets": "  budgets: [macs<=300K]",
    "finalists": "  finalists: 1",
}


def bench_of(folder: Path, seed: int, **changed: Any) -> Workbench:
    bench = open_workbench(write_experiment(folder, **changed), folder / "out")
    bench.experiment = replace(bench.experiment, seed=seed)
    return bench


def test_the_same_seed_draws_the_same_and_another_one_something_else(tmp_path: Path) -> None:
    first, again, other = (bench_of(tmp_path / str(number), seed) for number, seed in enumerate((3, 3, 4)))
    recipe = first.experiment.train.recipe
    for drawn in (
        lambda bench: bench.images.validation.targets,
        lambda bench: bench.images.training(recipe, first.images.train).batch(0, 0)[1],
        lambda bench: torch.cat([parameter.detach().flatten() for parameter in train(bench, until=0).parameters()]),
    ):
        assert torch.equal(drawn(first), drawn(again))
        assert not torch.equal(drawn(first), drawn(other))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[str]]]:
    """What was evaluated, and what it is compared with, for two seeds of the search and two of the experiment."""
    found: dict[str, list[list[str]]] = {"evaluated": [], "compared": []}
    for seed, of_search in ((0, 0), (0, 1), (1, 0)):
        folder = tmp_path_factory.mktemp("seeds")
        bench = bench_of(folder, seed, **QUICK, evaluations=f"  evaluations: 13\n  seed: {of_search}")
        train(bench)
        search(bench)
        lines = (bench.folder / "search" / "evaluations.jsonl").read_text().splitlines()
        found["evaluated"].append(lines)
        found["compared"].append([s.architecture.key for s in subjects(bench) if not s.chosen])
    return found


def test_a_seed_of_the_search_changes_what_is_evaluated_and_nothing_else(searched: dict[str, list[list[str]]]) -> None:
    assert searched["evaluated"][0] != searched["evaluated"][1]
    assert searched["compared"][0] == searched["compared"][1] != searched["compared"][2]


def test_as_many_candidates_are_evaluated_as_asked(searched: dict[str, list[list[str]]]) -> None:
    assert [len(lines) for lines in searched["evaluated"]] == [13, 13, 13]
