"""A search under a limit on the latency that was measured on the user's device."""

from __future__ import annotations

from pathlib import Path

import pytest

import search_spaces
from nasvit.costs.latency import MeasurementPlan, MeasurementSettings, NoisePolicy, SpaceSubject, build_table, load_table
from nasvit.experiment.pipeline import open_workbench
from nasvit.experiment.stages.search import check_budgets, search
from nasvit.experiment.stages.train import train
from tests.nasvit.costs.latency.fake import FakeDevice
from tests.nasvit.experiment.tiny import write_experiment

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
