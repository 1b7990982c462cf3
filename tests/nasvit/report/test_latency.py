"""``nasvit latency build`` and ``use`` as a user meets them."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
import tyro

import search_spaces
from nasvit.costs.latency import MeasurementPlan, MeasurementSettings, NoisePolicy, SpaceSubject, build_table
from nasvit.costs.latency.command import CommandRuntime
from nasvit.costs.latency.timed_modules import TimedModule
from nasvit.costs.latency.timing_log import Timing
from nasvit.report.latency import latency_build, latency_use
from tests.nasvit.costs.latency.fake import FakeDevice

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
