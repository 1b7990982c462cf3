"""The command line: what it prints, and that a mistake is one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import search_spaces
from nasvit import cli
from nasvit.costs.tables import cost_table
from nasvit.export.deployed import save_deployed
from nasvit.layers.calibration import track_statistics
from nasvit.report import tables as report
from nasvit.report.tables import _blocks, find_network
from nasvit.supernets.supernet import build
from tests.nasvit.experiment.tiny import write_experiment


def nasvit(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["nasvit", *words])
    monkeypatch.setenv("COLUMNS", "200")
    cli.main()


def test_profile_prints_the_published_multiply_adds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nasvit(monkeypatch, "profile", "alphanet_a0")
    assert "203,389,568" in capsys.readouterr().out


def test_the_blocks_of_a_profile_add_up_to_the_whole_network() -> None:
    network, channels, side = find_network("micro8:largest", 10)
    costs = [cost for _, _, cost in _blocks(network, channels, side)]
    space = search_spaces.load("micro8")
    whole = cost_table(space, 10).costs(space.encode([space.largest]))
    assert sum(cost.macs for cost in costs) == whole["macs"][0]
    assert sum(cost.params for cost in costs) == whole["params"][0]
    assert not next(network.parameters()).is_meta


def test_profile_reads_an_architecture_from_its_file(tmp_path: Path) -> None:
    space = search_spaces.load("micro8")
    space.smallest.save(tmp_path / "small.json")
    network, channels, side = find_network(f"micro8:{tmp_path / 'small.json'}", 7)
    assert (network.head.classifier.out_features, channels, side) == (7, 1, 8)


def test_profile_reads_what_fit_deployed_of_a_search_result(tmp_path: Path) -> None:
    space = search_spaces.load("micro8")
    card = {"classes": list("0123456"), "image_channels": 1}
    network, structure = build(space, space.smallest, 7), (space, space.smallest)
    track_statistics(network)
    save_deployed(network, tmp_path, name="micro8:small.json", structure=structure, fused=False, card=card)
    found, channels, side = find_network(str(tmp_path), 10)
    assert (found.head.classifier.out_features, channels, side) == (7, 1, 8)


def test_spaces_lists_every_space(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["micro32", "micro8"]
    monkeypatch.setattr(report.search_spaces, "names", lambda: names)  # the tables of large spaces take a while
    monkeypatch.setenv("COLUMNS", "200")
    cli.spaces()
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
    assert "36,864" in printed


def test_commands_of_two_words_are_understood(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        nasvit(monkeypatch, "latency", "build", "--help")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("--runtime", "--command", "--out"))
    with pytest.raises(SystemExit):
        nasvit(monkeypatch, "search", "worker", "nowhere.yaml")
    assert "nowhere.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["profile", "alphanet_a9"], "alphanet_a9"),
        (["profile", "micro9:largest"], "micro9"),
        (["profile", "micro8:missing.json"], "missing.json"),
        (["run", "missing.yaml"], "missing.yaml"),
    ],
)
def test_a_mistake_of_the_user_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        nasvit(monkeypatch, *words)
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert printed.out == ""
    assert printed.err.startswith("nasvit: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_a_mistake_in_an_experiment_is_one_line_with_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = write_experiment(tmp_path, evaluations="  evaluation: 14")
    with pytest.raises(SystemExit) as stop:
        nasvit(monkeypatch, "run", str(path), "--output", str(tmp_path / "out"))
    assert stop.value.code == 2
    assert "tiny.yaml:11: search.evaluation" in capsys.readouterr().err


def test_an_infeasible_budget_is_one_line_and_nothing_is_trained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = write_experiment(tmp_path, budgets="  budgets: [macs<=1K]")
    for command in ("run", "train"):
        with pytest.raises(SystemExit) as stop:
            nasvit(monkeypatch, command, str(path), "--output", str(tmp_path / "out"))
        assert stop.value.code == 2
        assert "the closest feasible value is macs" in capsys.readouterr().err
    assert not (tmp_path / "out" / "train").exists()
    assert json.loads((tmp_path / "out" / "experiment.json").read_text())["space"] == "micro8"


def test_an_unknown_command_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        nasvit(monkeypatch, "fly")
    assert stop.value.code == 2
    assert "train" in capsys.readouterr().err
