"""A search under a limit on the latency that was measured on the user's device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import search_spaces
from nasvit.any_network import Elastic
from nasvit.costs.latency.build import build_table
from nasvit.costs.latency.measure import NoisePolicy
from nasvit.costs.latency.plan import MeasurementPlan, MeasurementSettings
from nasvit.costs.latency.subjects import SpaceSubject
from nasvit.experiment.measured import Asked, subject_of
from nasvit.experiment.pipeline import check, open_workbench, run
from nasvit.experiment.stages.search import check_budgets, search
from nasvit.experiment.stages.train import train
from predictors.latency import load_table
from tests.nasvit.costs.latency.fake import FakeDevice
from tests.nasvit.experiment.tiny import few_digits, without_programs, write_experiment

SPACE = search_spaces.load("micro8")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("latency") / "device.json"
    settings = MeasurementSettings(classes=10, networks=12, name="fake", policy=NoisePolicy(rounds=1))
    build_table(MeasurementPlan(SpaceSubject(SPACE), settings, path, injected=FakeDevice(SPACE)))
    return path


def test_a_limit_on_latency_holds_for_what_is_chosen(table: Path, tmp_path: Path) -> None:
    latency = load_table(table, SPACE)
    smallest, largest = latency.latency(SPACE.encode([SPACE.smallest, SPACE.largest])).tolist()
    limit = (smallest + largest) / 2
    path = write_experiment(tmp_path, budgets=f"  budgets: [latency<={limit:.4f}ms]\n  latency: {table}")
    bench = open_workbench(path, tmp_path / "out")
    train(bench)
    choice = search(bench)[0]
    assert choice.costs["latency"] == latency.latency(SPACE.encode([choice.architecture]))[0]
    assert choice.costs["latency"] <= limit


def test_a_latency_that_no_subnet_has_is_refused_with_the_nearest(table: Path, tmp_path: Path) -> None:
    path = write_experiment(tmp_path, budgets=f"  budgets: [latency<=0.001ms]\n  latency: {table}")
    with pytest.raises(
        ValueError, match=r"no candidate meets latency<=0\.001ms; the closest feasible value is latency \d"
    ):
        check_budgets(open_workbench(path, tmp_path / "out"))


NETWORK = "network: tests.nasvit.experiment.small_network:residual"


@pytest.fixture(scope="module")
def of_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of the network that an experiment searches."""
    folder = tmp_path_factory.mktemp("network")
    experiment = write_experiment(folder, space=NETWORK)
    given = MeasurementSettings(networks=12, name="fake", policy=NoisePolicy(rounds=1))
    subject, settings = subject_of(str(experiment), given, Asked(), Elastic())
    assert settings.classes == 10
    build_table(MeasurementPlan(subject, settings, folder / "device.json", injected=FakeDevice(subject)))
    return folder / "device.json"


def test_a_network_is_searched_under_a_share_of_its_own_latency(of_network: Path, tmp_path: Path) -> None:
    budgets = f"  budgets: [latency<=70%, macs<=60% and latency<=60%]\n  latency: {of_network}"
    path = write_experiment(tmp_path, space=NETWORK, budgets=budgets, compare="compare: {scratch: false}")
    bench = open_workbench(path, tmp_path / "out")
    with without_programs(), few_digits():
        rows = run(bench)
    latency = bench.origin.subject.load(of_network)
    space = bench.whole_space
    (whole,) = latency.latency(space.encode([space.largest])).tolist()
    for row, share in zip(rows, (0.7, 0.6), strict=True):
        chosen = space.architecture(row["architecture"])
        assert row["latency"] == pytest.approx(latency.latency(space.encode([chosen]))[0])
        assert row["latency"] <= share * whole
    assert bench.space.size < space.size


def test_a_limit_on_latency_leaves_out_no_choice_that_a_subnet_within_it_has(of_network: Path, tmp_path: Path) -> None:
    budgets = f"  budgets: [latency<=60%]\n  latency: {of_network}"
    bench = open_workbench(write_experiment(tmp_path, space=NETWORK, budgets=budgets), tmp_path / "out")
    kept = bench.origin.admitted(bench.budgets)
    rows = bench.whole_space.genome.sample(3000, np.random.default_rng(0))
    within = rows[bench.origin.costs(rows)["latency"] <= bench.budgets[0].limits[0].high]
    assert kept is not None and 50 < len(within) < 2900
    for column, gene in enumerate(bench.whole_space.genome.genes):
        assert set(within[:, column].tolist()) <= {*kept[column].tolist()}, gene.name
    least, most = bench.origin.span("latency")
    assert least <= bench.origin.costs(rows)["latency"].min()
    assert most >= bench.origin.costs(rows)["latency"].max()


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        (
            {"space": NETWORK.replace("residual", "joined")},
            "was measured for network 'residual' .* not for network 'joined'",
        ),
        (
            {"space": NETWORK + "\nelastic: {resolution: [4, 8]}"},
            "was measured with resolution of 8, and 4 is asked for",
        ),
        (
            {"space": NETWORK + "\nelastic: {divisor: 1}"},
            r"was measured with width.* of 8, 16, 24, 32, and .* is asked for",
        ),
        ({"space": "space: micro8"}, "was measured for network 'residual' .*, not for 'micro8'"),
    ],
)
def test_a_table_of_something_else_is_refused_before_anything_is_trained(
    of_network: Path, tmp_path: Path, replaced: dict[str, str], message: str
) -> None:
    path = write_experiment(tmp_path, budgets=f"  budgets: [latency<=60%]\n  latency: {of_network}", **replaced)
    with pytest.raises(ValueError, match=message):
        check(open_workbench(path, tmp_path / "out"))
