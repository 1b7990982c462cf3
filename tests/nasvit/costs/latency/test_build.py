"""Building a table: exact where the device is additive, resumable, honest about its error."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nasvit.costs.latency.plan as plan_module
import search_spaces
from nasvit.costs.latency.build import build_table
from nasvit.costs.latency.correction import fit_correction, prediction_error
from nasvit.costs.latency.estimate import estimate_seconds, first_measurements
from nasvit.costs.latency.measure import NoisePolicy
from nasvit.costs.latency.plan import MeasurementPlan, MeasurementSettings
from nasvit.costs.latency.subjects import SpaceSubject
from predictors.latency import load_table
from tests.nasvit.costs.latency.fake import FakeDevice

SPACE = search_spaces.load("micro8")
SETTINGS = MeasurementSettings(classes=10, networks=12, name="fake", policy=NoisePolicy(rounds=2))


def plan_with(device: FakeDevice, folder: Path, settings: MeasurementSettings = SETTINGS) -> MeasurementPlan:
    return MeasurementPlan(SpaceSubject(SPACE), settings, folder / "table.json", injected=device)


def test_blocks_that_add_up_are_predicted_exactly(tmp_path: Path) -> None:
    device = FakeDevice(SPACE, scale=1.5, offset=0.25)
    table = build_table(plan_with(device, tmp_path))
    assert table.scale == pytest.approx(1.5)
    assert table.offset == pytest.approx(0.25)
    assert table.record["error"]["median_relative_error"] < 1e-9
    assert table.record["error"]["kendall_tau"] == pytest.approx(1)
    plain = table.record["error_of_plain_sum"]
    assert -0.36 < plain["bias"] < -0.33
    rows = SPACE.genome.sample(100, np.random.default_rng(3))
    assert set(device.asked.values()) == {2}
    assert np.array_equal(load_table(tmp_path / "table.json", SPACE).latency(rows), table.latency(rows))


def test_the_error_is_that_of_networks_that_nothing_was_fitted_on(tmp_path: Path) -> None:
    device = FakeDevice(SPACE, noise=0.05)
    record = build_table(plan_with(device, tmp_path)).record
    held_out = [network for network in record["networks"] if network["held_out"]]
    fitted = [network for network in record["networks"] if not network["held_out"]]
    assert (len(fitted), len(held_out)) == (7, 5)
    assert {network["architecture"] for network in fitted} >= {SPACE.smallest.key, SPACE.largest.key}
    errors = [abs(network["predicted"] / network["milliseconds"] - 1) for network in held_out]
    assert record["error"]["networks"] == 5
    assert record["error"]["median_relative_error"] == pytest.approx(np.median(errors))
    assert record["error"]["largest_relative_error"] == pytest.approx(max(errors))
    assert record["correction"]["fitted_on"] == 7

    for network in held_out:  # whatever the held-out networks take, the fit stays what it was
        device.known[f"network {network['architecture']}"] *= 3
    again = build_table(plan_with(device, tmp_path / "again")).record
    assert again["correction"] == record["correction"]
    assert again["error"]["median_relative_error"] > 0.5


def test_the_file_says_what_was_measured_on_what(tmp_path: Path) -> None:
    build_table(plan_with(FakeDevice(SPACE), tmp_path))
    record = json.loads((tmp_path / "table.json").read_text())
    expected = {"device": "fake", "runtime": "torch", "threads": 1, "batch_size": 1, "classes": 10, "command": None}
    expected |= {"runs_on": "cpu", "precision": "float32"}
    assert {name: record[name] for name in expected} == expected
    assert record["space"]["name"] == "micro8"
    assert record["policy"]["rounds"] == 2
    assert {"python", "torch", "nasvit"} <= record["versions"].keys()
    assert len(record["date"]) == len("2026-01-31")
    assert len(record["blocks"]) == 60


@pytest.mark.parametrize("measurements", [1, 61, 143])
def test_a_killed_build_goes_on_without_measuring_anything_twice(tmp_path: Path, measurements: int) -> None:
    device = FakeDevice(SPACE, noise=0.05)
    device.dies_after = measurements
    with pytest.raises(KeyboardInterrupt):
        build_table(plan_with(device, tmp_path))
    assert not (tmp_path / "table.json").exists()
    assert first_measurements(plan_with(device, tmp_path), done=True) == measurements

    device.dies_after = -1
    resumed = build_table(plan_with(device, tmp_path))
    whole = build_table(plan_with(FakeDevice(SPACE, noise=0.05), tmp_path / "whole"))
    assert set(device.asked.values()) == {2}
    assert resumed.record | {"date": ""} == whole.record | {"date": ""}


def test_more_rounds_add_to_what_is_measured(tmp_path: Path) -> None:
    device = FakeDevice(SPACE)
    build_table(plan_with(device, tmp_path))
    more = replace(SETTINGS, policy=NoisePolicy(rounds=3))
    assert first_measurements(plan_with(device, tmp_path, more), done=False) == 72
    build_table(plan_with(device, tmp_path, more))
    assert set(device.asked.values()) == {3}


@pytest.mark.parametrize(
    ("change", "condition"),
    [
        ({"threads": 2}, "threads 1, now it is 2"),
        ({"batch_size": 4}, "batch_size 1, now it is 4"),
        ({"name": "other"}, "device 'fake', now it is 'other'"),
        ({"classes": 11}, "classes 10, now it is 11"),
        ({"precision": "bfloat16"}, "precision 'float32', now it is 'bfloat16'"),
    ],
)
def test_a_build_begun_under_other_conditions_is_not_continued(
    tmp_path: Path, change: dict[str, object], condition: str
) -> None:
    build_table(plan_with(FakeDevice(SPACE), tmp_path))
    with pytest.raises(ValueError, match=f"were made with {condition}"):
        build_table(plan_with(FakeDevice(SPACE), tmp_path, replace(SETTINGS, **change)))  # type: ignore[arg-type]


def test_an_estimate_is_the_time_of_a_few_measurements_times_what_is_left(tmp_path: Path) -> None:
    device = FakeDevice(SPACE)

    def clock() -> float:  # every measurement takes a second
        return float(sum(device.asked.values()))

    assert estimate_seconds(plan_with(device, tmp_path), clock) == pytest.approx(144)
    assert not list(tmp_path.iterdir())
    build_table(plan_with(device, tmp_path))
    assert estimate_seconds(plan_with(device, tmp_path), clock) == 0


def test_networks_that_get_faster_with_more_work_are_refused() -> None:
    with pytest.raises(ValueError, match=r"do not take longer where their blocks do .*--networks"):
        fit_correction([1, 2, 3, 4], [8, 7, 6, 5])


def test_bias_is_positive_where_too_much_is_predicted() -> None:
    error = prediction_error([2.2, 4.2, 6.0], [2.0, 4.0, 8.0])
    assert error.bias == pytest.approx((0.1 + 0.05 - 0.25) / 3)
    assert error.median_relative_error == pytest.approx(0.1)
    assert error.kendall_tau == pytest.approx(1)


@pytest.mark.parametrize(("field", "value"), [("threads", 0), ("batch_size", 0), ("networks", 5), ("classes", 0)])
def test_settings_that_measure_nothing_are_refused(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{field}: {value} is illegal; legal: whole numbers from"):
        MeasurementSettings(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda", "command": "run {model}"}, "device is 'cuda', but a command measures files .*--name"),
        ({"device": "Pi 5", "command": "run {model}"}, "device is 'Pi 5', but a command .*in the table is --name"),
        (
            {"device": "auto", "runtime": "onnxruntime"},
            "device is 'auto', but onnxruntime .* on cpu; leave --device out",
        ),
        ({"precision": "float16", "command": "run {model}"}, "precision is 'float16', but a command .*--precision out"),
        ({"precision": "float16", "runtime": "onnxruntime"}, "precision is 'float16', but onnxruntime .* float32 or"),
        ({"precision": "int8"}, "precision is int8, which torch has not here; legal: --runtime onnxruntime, openvino"),
    ],
)
def test_only_torch_in_this_process_runs_on_a_chosen_device(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MeasurementSettings(**settings)


def test_a_device_that_is_not_there_is_refused_and_those_that_are_there_are_named(tmp_path: Path) -> None:
    plan = MeasurementPlan(SpaceSubject(SPACE), replace(SETTINGS, device="Pi 5"), tmp_path / "table.json")
    with pytest.raises(ValueError, match=r"device 'Pi 5': there is none; here are auto, cpu.*; --name is the name of"):
        build_table(plan)


def test_torch_gets_the_device_and_the_precision_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "find_device", lambda name: torch.device(name))
    monkeypatch.setattr(plan_module, "make_measure", lambda runtime, **asked: (asked["device"], asked["precision"]))
    plan = MeasurementPlan(
        SpaceSubject(SPACE), replace(SETTINGS, device="xpu:1", precision="float16"), tmp_path / "table.json"
    )
    assert plan.measure == (torch.device("xpu:1"), "float16")  # type: ignore[comparison-overlap]


def test_files_that_are_for_other_conditions_lie_elsewhere(tmp_path: Path) -> None:
    asked = [SETTINGS, replace(SETTINGS, precision="int8", runtime="onnxruntime"), replace(SETTINGS, batch_size=2)]
    plans = [MeasurementPlan(SpaceSubject(SPACE), each, tmp_path / "table.json") for each in asked]
    assert len({plan.folder for plan in plans}) == 3
    for plan in plans:
        plan.folder.mkdir(parents=True)
    plans[0].discard_exported()
    assert not list(tmp_path.iterdir())


def test_the_record_names_the_accelerator_and_where_torch_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "find_device", lambda name: torch.device(name))
    monkeypatch.setattr(plan_module, "device_name", lambda device: f"Fake GPU {device.index}")
    settings = replace(SETTINGS, device="cuda:1", name=None)
    found = plan_with(FakeDevice(SPACE), tmp_path, settings).conditions
    assert (found["device"], found["runs_on"]) == ("Fake GPU 1", "cuda:1")
    named = plan_with(FakeDevice(SPACE), tmp_path, replace(settings, name="mine")).conditions
    assert (named["device"], named["runs_on"]) == ("mine", "cuda:1")
    remote = plan_with(FakeDevice(SPACE), tmp_path, replace(SETTINGS, name=None, command="run {model}")).conditions
    assert (remote["device"], remote["runs_on"]) == ("run {model}", None)
