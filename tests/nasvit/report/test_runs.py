"""``nasvit runs``: every run with its state, and nothing in a folder ends the list."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from nasvit import cli
from nasvit.experiment.fit import fit
from nasvit.experiment.pipeline import open_workbench, run
from nasvit.experiment.training import FitConfig
from nasvit.files.held import HOLDER, held, holder_of
from nasvit.report.runs import runs_in
from tests.nasvit.experiment.tiny import few_digits, without_programs, write_experiment

FIT = """\
network: micro8:smallest
data: {source: digits, crop: pad, validation: 0.2}
recipe: {optimizer: adamw, learning_rate: 1e-3, epochs: 1, batch_size: 64}
threads: 1
"""
UNSEARCHED = {
    "evaluations": "  evaluate: largest",
    "finalists": "",
    "images": "",
    "calibration_batches": "",
    "calibration_batch_size": "",
    "compare": "",
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished experiment and a finished training."""
    folder = tmp_path_factory.mktemp("runs")
    with without_programs(), few_digits(200):
        run(open_workbench(write_experiment(folder, **UNSEARCHED), folder / "whole"))
        (folder / "fit.yaml").write_text(FIT, encoding="utf-8")
        fit(FitConfig.load(folder / "fit.yaml"), folder / "fitted")
    return folder


@pytest.fixture
def runs(done: Path, tmp_path: Path) -> Path:
    shutil.copytree(done, tmp_path / "runs")
    return tmp_path / "runs"


def test_finished_and_killed_runs_are_listed_with_what_they_found_the_latest_first(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs / "whole", runs / "killed")
    (runs / "killed" / "results.json").unlink()
    killed = json.loads((runs / "killed" / "times.json").read_text(encoding="utf-8"))
    killed = {name: killed[name] for name in ("search", "finetune")}
    (runs / "killed" / "times.json").write_text(json.dumps(killed), encoding="utf-8")
    for number, name in enumerate(("killed", "fitted", "whole"), start=1):
        for path in (runs / name).rglob("*"):
            os.utime(path, (number * 1e6, number * 1e6))
    for name in ("photos/train/cats", "photos/val/cats", "empty"):
        (runs / name).mkdir(parents=True)
    found, broken = runs_in(runs)
    assert [each.name for each in found] == ["whole", "fitted", "killed"] and not broken
    whole, fitted, stopped = found
    results = json.loads((runs / "whole" / "results.json").read_text(encoding="utf-8"))
    assert whole.state == "finished" and whole.what == "micro8 on digits" and whole.took
    assert [each.name for each in whole.networks] == [row["budget"] for row in results["rows"]]
    assert whole.networks[0].score == f"accuracy {results['rows'][0]['scores']['scratch']:.2%}"
    assert fitted.networks[0].score.startswith("accuracy ") and fitted.networks[0].macs
    assert stopped.state == "stopped: stage 2 of 3, final training"
    assert stopped.networks[0].macs == whole.networks[0].macs and stopped.networks[0].score == ""
    monkeypatch.setattr(sys, "argv", ["nasvit", "runs", str(runs)])
    monkeypatch.setenv("COLUMNS", "200")
    cli.main()
    assert "stage 2 of 3" in capsys.readouterr().out
    assert [each.name for each in runs_in(runs / "whole")[0]] == ["whole"]


def test_a_run_that_a_command_writes_to_says_which(runs: Path) -> None:
    (runs / "whole" / "results.json").unlink()
    with held(runs / "whole"), held(runs / "new"):
        found = {each.name: each for each in runs_in(runs)[0]}
        assert found["whole"].state.startswith("running: stage 3 of 3")
        assert found["new"].state == "running, just begun"
        assert f"process {os.getpid()} on" in found["whole"].notes[0]
        said = json.loads((runs / "whole" / HOLDER).read_text(encoding="utf-8"))
    assert holder_of(runs / "whole") is None
    said["owner"]["host"] = "elsewhere"  # and silent since long ago, or alive
    (runs / "whole" / HOLDER).write_text(json.dumps(said), encoding="utf-8")
    assert holder_of(runs / "whole") == said
    os.utime(runs / "whole" / HOLDER, (1.0, 1.0))
    assert holder_of(runs / "whole") is None


@pytest.mark.parametrize("content", ["{", "[1, null]", '{"data": 3, "rows": [{"name": 1}], "search": 7}'])
def test_what_is_broken_is_a_line_and_the_others_are_listed(
    runs: Path, content: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs / "whole", runs / "spoiled")
    for path in (runs / "spoiled").rglob("*.json"):
        path.write_text(content, encoding="utf-8")
    found, _ = runs_in(runs)
    assert {"whole", "fitted"} <= {each.name for each in found}
    monkeypatch.setattr(sys, "argv", ["nasvit", "runs", str(runs)])
    cli.main()
    printed = capsys.readouterr().out
    assert "Traceback" not in printed
    assert content != "{" or "spoiled: results.json is damaged" in printed
