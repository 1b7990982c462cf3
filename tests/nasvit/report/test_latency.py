"""``nasvit latency build`` and ``use`` as a user meets them."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import tyro
from rich.console import Console

import search_spaces
from nasvit.any_network import Elastic
from nasvit.costs.latency.build import build_table
from nasvit.costs.latency.command import CommandRuntime
from nasvit.costs.latency.measure import NoisePolicy
from nasvit.costs.latency.plan import MeasurementPlan, MeasurementSettings
from nasvit.costs.latency.subjects import SpaceSubject, Subject
from nasvit.costs.latency.timed_modules import TimedModule
from nasvit.costs.latency.timing_log import Timing
from nasvit.experiment.measured import Asked, subject_of
from nasvit.report.latency import latency_build, latency_use, show_quality
from predictors.latency import load_table
from tests.nasvit.costs.latency.fake import FakeDevice
from tests.nasvit.experiment.tiny import write_experiment

COMMANDS = {"latency-build": latency_build, "latency-use": latency_use}


def nasvit(*words: str) -> None:
    tyro.extras.subcommand_cli_from_dict(COMMANDS, args=list(words))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    space = search_spaces.load("micro8")
    settings = MeasurementSettings(classes=10, networks=8, name="a fake device", policy=NoisePolicy(rounds=2))
    build_table(MeasurementPlan(SpaceSubject(space), settings, tmp_path / "table.json", injected=FakeDevice(space)))
    return tmp_path / "table.json"


def test_use_prints_the_device_and_the_latency_of_subnets(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = search_spaces.load("micro8")
    space.largest.save(table.parent / "mine.json")
    nasvit("latency-use", str(table), "micro8", "--architecture", str(table.parent / "mine.json"), "--sample", "3")
    printed = capsys.readouterr().out
    device = FakeDevice(space)
    assert f"{device.known['network ' + space.smallest.key]:.4g} ms" in printed
    assert printed.count(f"{device.known['network ' + space.largest.key]:.4g} ms") == 2
    assert "a fake device: torch 2" in printed
    assert all(name in printed for name in ("smallest", "largest", "mine.json", "random-2"))


def test_use_says_on_which_accelerator_a_table_was_measured_and_reads_tables_that_do_not_say_it(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads(table.read_text())
    for change, said in (
        ({}, ", 1 threads, float32, batch size 1,"),
        ({"runs_on": "cuda:1", "precision": "float16"}, ", on cuda:1, float16, batch size 1,"),
    ):
        table.write_text(json.dumps(record | change))
        nasvit("latency-use", str(table), "micro8")
        assert said in capsys.readouterr().out
    del record["runs_on"], record["precision"]
    table.write_text(json.dumps(record))
    nasvit("latency-use", str(table), "micro8")
    assert ", 1 threads, float32, batch size 1," in capsys.readouterr().out


def test_use_refuses_a_table_of_another_space(table: Path) -> None:
    with pytest.raises(ValueError, match="measured for space 'micro8' .* not for 'micro32'"):
        nasvit("latency-use", str(table), "micro32")


def test_use_refuses_an_architecture_that_the_space_does_not_hold(table: Path) -> None:
    search_spaces.load("micro32").smallest.save(table.parent / "other.json")
    with pytest.raises(ValueError, match="space 'micro8' holds"):
        nasvit("latency-use", str(table), "micro8", "--architecture", str(table.parent / "other.json"))


def build_words(tmp_path: Path, *more: str) -> list[str]:
    script = tmp_path / "measure.py"
    script.write_text("import os, sys\nprint(1 + os.stat(sys.argv[1]).st_size / 1e5)\n", encoding="utf-8")
    command = f"{shlex.quote(sys.executable)} {script} {{model}}"
    return ["latency-build", "micro8", "--out", str(tmp_path / "out" / "table.json"), "--command", command, *more]


def measure_with(device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a fake device stand for the user's command; it leaves exported files as the real one does."""

    def measure(runtime: CommandRuntime, module: TimedModule) -> Timing:
        runtime.folder.mkdir(parents=True, exist_ok=True)
        (runtime.folder / "block.pt2").touch()
        return device(module)

    monkeypatch.setattr(CommandRuntime, "__call__", measure)


def test_a_dry_run_says_how_much_there_is_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_with(FakeDevice(search_spaces.load("micro8")), monkeypatch)
    nasvit(*build_words(tmp_path, "--networks", "6", "--rounds", "1", "--dry-run"))
    printed = capsys.readouterr().out
    assert "60 unique blocks and 6 whole networks in 1 rounds; 66 measurements are left" in printed
    assert not list((tmp_path / "out").iterdir())


def test_build_measures_by_command_and_prints_the_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_with(FakeDevice(search_spaces.load("micro8")), monkeypatch)
    nasvit(*build_words(tmp_path, "--networks", "8", "--rounds", "1"))
    printed = capsys.readouterr().out
    assert "1.500 x sum +0.25 ms" in printed
    assert "scale and offset were fitted on 5 other networks" in printed
    nasvit("latency-use", str(tmp_path / "out" / "table.json"), "micro8")
    assert "by command" in capsys.readouterr().out


NETWORK = "tests.nasvit.experiment.small_network:residual"
OF_NETWORK = (NETWORK, "--image-size", "8", "--image-channels", "1", "--elastic.width", "0.5", "1.0")


def network_subject() -> Subject[Any]:
    elastic = Elastic(width=(0.5, 1.0))
    return subject_of(NETWORK, MeasurementSettings(classes=10), Asked(8, 1), elastic)[0]


def test_a_network_is_measured_and_its_table_used_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = FakeDevice(network_subject())
    measure_with(device, monkeypatch)
    words = build_words(tmp_path, "--networks", "8", "--rounds", "1", "--classes", "10", *OF_NETWORK[1:])
    nasvit(*("latency-build" if word == "latency-build" else NETWORK if word == "micro8" else word for word in words))
    assert "1.500 x sum +0.25 ms" in capsys.readouterr().out
    subject = network_subject()
    (tmp_path / "mine.json").write_text(subject.space.smallest.to_json())
    nasvit(
        "latency-use", str(tmp_path / "out" / "table.json"), *OF_NETWORK, "--architecture", str(tmp_path / "mine.json")
    )
    printed = capsys.readouterr().out
    assert printed.count(f"{device.known['network ' + subject.space.smallest.key]:.4g} ms") == 2
    assert f"{device.known['network ' + subject.space.largest.key]:.4g} ms" in printed


def test_interpolated_layers_are_told(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = search_spaces.load("micro8")
    loaded = load_table(table, space)
    for number, said in ((0, False), (3, True)):
        loaded.record |= {"interpolated": number, "places": 20}
        show_quality(loaded, Console(width=120))
        assert ("3 of 20 layers have too many combinations of sizes" in capsys.readouterr().out) == said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("micro9",), "no space is called 'micro9'"),
        (
            ("micro8", "--image-size", "8"),
            "--image-size is for a network .*, and micro8 is a search space; leave it out",
        ),
        (("micro8", "--elastic.divisor", "4"), "--elastic is for a network .*, and micro8 is a search space"),
        (("timm:resnet1",), r"timm has no model 'resnet1'; it has .*resnet"),
        ((NETWORK, "--image-size", "8"), "network: it does not take images of 8x8 pixels: .* to have 1 channels"),
        (("tiny.yaml", "--image-size", "8"), r"--image-size is for .*tiny\.yaml says it; leave it out"),
        (("tiny.yaml", "--classes", "7"), r"--classes is 7, and the images of .*tiny\.yaml have 10; leave it out"),
    ],
)
def test_mistakes_are_said_in_words(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    name, *more = words
    path = write_experiment(tmp_path, space=f"network: {NETWORK}")
    name = str(path) if name == "tiny.yaml" else name
    with pytest.raises(ValueError, match=message):
        nasvit("latency-build", name, "--out", str(tmp_path / "table.json"), *more)


def test_an_experiment_with_a_space_is_measured_as_its_space(tmp_path: Path) -> None:
    path = write_experiment(tmp_path)
    subject, settings = subject_of(str(path), MeasurementSettings(), Asked(), Elastic())
    assert subject.space == search_spaces.load("micro8")
    assert settings.classes == 10
