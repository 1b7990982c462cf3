"""Budgets bound the supernet, and its folder remembers by which."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nasvit.costs.tables import cost_table
from nasvit.experiment.pipeline import check, open_workbench
from nasvit.experiment.stages.search import search
from nasvit.experiment.stages.train import load_supernet, train
from nasvit.experiment.trained_for import RECORD, TrainedFor, admitted_values, require_within
from nasvit.experiment.workbench import Workbench
from nasvit.files.records import read_json
from nasvit.search.candidates import Candidate
from predictors.bounds import admitted_by_any, parts_of, span
from predictors.limits import Budget, feasible
from search_spaces import load
from tests.nasvit.experiment.tiny import few_digits, write_experiment

SMALL = "macs<=110K"  # so small that no subnet within it has some of the choices
WHOLE = "  evaluate_every: 2\n  within_budgets: false"


def bench_of(folder: Path, *budgets: str, **replaced: str) -> Workbench:
    path = write_experiment(folder, budgets=f"  budgets: {json.dumps(budgets or [SMALL])}", **replaced)
    return open_workbench(path, folder / "out")


@pytest.fixture(scope="module", autouse=True)
def _few_images() -> Iterator[None]:
    with few_digits(1000):
        yield


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an experiment whose supernet is trained for one small budget; tests copy it."""
    folder = tmp_path_factory.mktemp("begun")
    train(bench_of(folder))
    return folder


@pytest.fixture
def copied(begun: Path, tmp_path: Path) -> Path:
    shutil.copytree(begun / "out", tmp_path / "out")
    return tmp_path


def test_the_supernet_holds_only_what_subnets_within_the_budget_have(begun: Path) -> None:
    bench = bench_of(begun)
    assert bench.space.size < bench.whole_space.size / 8
    held = sum(parameter.numel() for parameter in load_supernet(bench).parameters())
    (least,) = cost_table(bench.whole_space, 10).params(bench.whole_space.encode([bench.whole_space.largest]))
    assert held < 0.8 * least
    codes = bench.whole_space.genome.sample(20_000, np.random.default_rng(0))
    within = feasible(dict(cost_table(bench.whole_space, 10).costs(codes)), bench.budgets[0].limits)
    assert within.any()
    for architecture in bench.whole_space.decode(codes[within]):
        bench.space.check(architecture)


def test_costs_in_the_cut_space_are_those_of_the_whole_one_and_those_counted_on_it_anew(begun: Path) -> None:
    bench = bench_of(begun)
    codes = bench.space.genome.sample(300, np.random.default_rng(0))
    costs, anew = bench.candidates.costs(codes), cost_table(bench.space, 10).costs(codes)
    whole = cost_table(bench.whole_space, 10).costs(bench.whole_space.encode(bench.space.decode(codes)))
    for metric in ("macs", "params", "memory"):
        np.testing.assert_array_equal(costs[metric], whole[metric])
        np.testing.assert_array_equal(costs[metric], anew[metric])


def test_every_subnet_that_trains_meets_a_budget(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, "macs<=300K", "params<=20K and memory<=25KB")
    assert bench.family is not None
    drawn = bench.family.sample(500, np.random.default_rng(0))
    for architecture in (bench.family.largest, bench.family.smallest, *drawn):
        costs = {metric: np.array([value]) for metric, value in bench.costs(Candidate(architecture)).items()}
        assert any(feasible(costs, budget.limits)[0] for budget in bench.budgets)
    for pool, budget in zip(bench.family.pools, bench.budgets, strict=True):
        assert feasible(bench.candidates.costs(pool), budget.limits).all()


def test_the_pools_are_the_same_in_every_run_and_others_with_another_seed(tmp_path: Path) -> None:
    one, same = (bench_of(tmp_path / name).family for name in ("one", "same"))
    other = bench_of(tmp_path / "other", space="space: micro8\nseed: 1").family
    assert one is not None and same is not None and other is not None
    assert np.array_equal(one.pools[0], same.pools[0])
    assert not np.array_equal(one.pools[0], other.pools[0])


@pytest.mark.parametrize("budget", ["macs<=110K", "macs<=90K", "macs<=110K and params<=20K", "90K<=macs<=100K"])
def test_a_budget_within_what_the_supernet_was_trained_for_is_searched(budget: str, copied: Path) -> None:
    bench = bench_of(copied, budget)
    (choice,) = search(bench)
    assert feasible({name: np.array([cost]) for name, cost in choice.costs.items()}, bench.budgets[0].limits)[0]


@pytest.mark.parametrize("budget", ["macs<=120K", "params<=20K", "macs>=100K"])
def test_a_budget_beyond_what_the_supernet_was_trained_for_is_refused_with_the_way_out(
    budget: str, copied: Path
) -> None:
    message = rf"was trained for macs<=110K, and the budget {budget} has subnets beyond; give another output folder"
    with pytest.raises(ValueError, match=message):
        check(bench_of(copied, budget))


def test_a_budget_that_takes_none_of_the_supernets_weights_is_not_refused(copied: Path) -> None:
    bench = bench_of(copied, "macs<=600K", finalists="  finalists: 2\n  evaluate: scratch")
    assert check(bench)
    assert bench.space == bench.whole_space


def test_bounds_cannot_be_taken_from_a_supernet_that_has_them(copied: Path) -> None:
    with pytest.raises(ValueError, match=r"trained for macs<=110K alone, and train\.within_budgets is false now"):
        check(bench_of(copied, evaluate_every=WHOLE))


def test_without_bounds_the_whole_space_is_trained_and_any_budget_can_be_added(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, evaluate_every=WHOLE)
    train(bench, until=1)
    assert bench.space == load("micro8") and bench.family is None
    assert not (bench.folder / RECORD).exists()
    later = bench_of(tmp_path, "macs<=800K", evaluate_every=WHOLE)
    assert len(check(later)) == 1
    assert later.space == load("micro8")


def test_a_folder_of_an_earlier_version_goes_on_with_the_whole_space(tmp_path: Path) -> None:
    """Such a folder has no record of budgets, and its experiment.json lacks the fields that came later."""
    old = bench_of(tmp_path, evaluate_every=WHOLE)
    train(old, until=3)
    record = read_json(old.folder / "experiment.json")
    for field in ("within_budgets", "members", "largest_first", "resolution_first"):
        del record["train"][field]
    (old.folder / "experiment.json").write_text(json.dumps(record))
    later = bench_of(tmp_path)
    supernet = train(later)
    assert later.space == load("micro8")
    whole = train(bench_of(tmp_path / "whole", evaluate_every=WHOLE))
    assert all(torch.equal(tensor, whole.state_dict()[name]) for name, tensor in supernet.state_dict().items())


def test_a_killed_training_goes_on_within_the_budgets_that_it_began_with(tmp_path: Path, begun: Path) -> None:
    train(bench_of(tmp_path), until=5)
    resumed = train(bench_of(tmp_path, "macs<=90K"))
    whole = load_supernet(bench_of(begun)).state_dict()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in resumed.state_dict().items())


def test_another_architecture_can_be_the_largest_and_is_remembered(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, "macs<=300K")
    bench.largest = bench.whole_space.smallest
    train(bench, until=1)
    again = bench_of(tmp_path, "macs<=300K")
    assert again.family is not None
    assert again.family.largest == bench.whole_space.smallest


def test_a_largest_architecture_that_meets_no_budget_is_refused(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, "macs<=900K")
    bench.largest = bench.whole_space.largest
    with pytest.raises(ValueError, match="the largest subnet to train, .*, meets none of macs<=900K"):
        train(bench)


def test_before_the_training_a_line_says_what_the_budgets_spare(tmp_path: Path, copied: Path) -> None:
    bench = bench_of(tmp_path / "new")
    share, spared = check(bench)
    assert share.startswith("macs<=110K: ")
    searched = bench.whole_space.genome.names
    left = sum(len(each.values) for each in bench.space.decisions if each.name in searched)
    assert f"with {left} of {bench.whole_space.genome.cards.sum()} choices" in spared
    assert bench.family is not None
    macs = bench.costs(Candidate(bench.family.largest))["macs"]
    (most,) = cost_table(bench.whole_space, 10).macs(bench.whole_space.encode([bench.whole_space.largest]))
    assert f"multiply-adds of its largest subnet {macs / 1e6:.3g}M instead of {most / 1e6:.3g}M" in spared
    assert re.search(r"of a step 0\.\d+M instead of 1\.\d+M an image \(8\d% saved\)", spared)
    assert len(check(bench_of(copied))) == 1  # it is trained


def test_where_one_subnet_alone_is_left_the_search_still_has_something_to_decide(tmp_path: Path) -> None:
    space = load("micro8")
    (least,) = cost_table(space, 10).macs(space.encode([space.smallest]))
    bench = bench_of(tmp_path, f"macs<={least}")
    train(bench, until=1)
    assert (bench.space.size, len(bench.space.genome)) == (2, 1)
    assert bench.family is not None
    assert bench.family.largest == bench.family.smallest == space.smallest


def test_the_budgets_of_a_front_come_from_the_whole_space(tmp_path: Path) -> None:
    front = "  front: {points: 3}"
    paths = [write_experiment(tmp_path / name, budgets=front, **more) for name, more in (
        ("within", {}), ("whole", {"evaluate_every": WHOLE}))]  # fmt: skip
    within, whole = (open_workbench(path, path.parent / "out") for path in paths)
    assert within.budgets == whole.budgets
    smaller = replace(within.experiment, search=replace(within.experiment.search, budgets=(Budget(SMALL),), front=None))
    within = Workbench(smaller, tmp_path / "smaller")
    train(within, until=1)
    later = open_workbench(paths[0], tmp_path / "smaller")
    with pytest.raises(ValueError, match="trained for macs<=110K, and the budget macs<="):
        check(later)


SPACE = load("micro8")
PARTS = parts_of(cost_table(SPACE, 10))


@pytest.mark.parametrize(
    ("trained", "asked", "within"),
    [
        (["macs<=300K"], "macs<=300K", True),
        (["macs<=300K"], "macs<=301K", False),
        (["macs<=300K", "params<=30K"], "params<=20K", True),
        (["100K<=macs<=300K"], "200K<=macs<=300K", True),
        (["100K<=macs<=300K"], "macs<=200K", False),
        (["macs<=300K and params<=30K"], "macs<=300K", False),
        (["macs<=300K and params<=30K"], "params<=20K and macs<=100K", True),
        (["macs<=5M"], "params<=20K", True),  # no subnet has 5M
        (["10K<=macs<=300K"], "macs<=200K", True),  # none has less than 10K
        (["macs<=5M"], "", True),
        (["macs<=300K"], "", False),
    ],
)
def test_a_budget_lies_within_another_one_if_its_limits_do(trained: list[str], asked: str, within: bool) -> None:
    def ask() -> None:
        spans = lambda metric: span(PARTS[metric], SPACE.genome)  # noqa: E731
        require_within([Budget(asked)], [*map(Budget, trained)], spans, Path("a folder"))

    if within:
        ask()
    else:
        with pytest.raises(ValueError, match=f"a folder was trained for .* the budget {asked or 'without limits'}"):
            ask()


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    kept = admitted_by_any(SPACE.genome, PARTS, [Budget("macs<=110K").limits])
    values = admitted_values(SPACE.genome, kept)
    record = TrainedFor((Budget("macs<=110K"), Budget("params<=20K")), values, SPACE.smallest)
    record.write(tmp_path)
    assert TrainedFor.read(tmp_path) == record
    assert TrainedFor.read(tmp_path / "elsewhere") is None
