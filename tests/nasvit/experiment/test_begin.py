"""``nasvit init``: a file with reasons that runs as it is, or words about the folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nasvit import cli
from nasvit.compute import ALONE
from nasvit.experiment import planning
from nasvit.experiment.begin import write_experiment
from nasvit.experiment.compose import Seen, compose, usual_budget
from nasvit.experiment.config import Experiment
from nasvit.experiment.pipeline import open_workbench, run
from nasvit.experiment.plan import Paces, make_plan, planned
from tests.nasvit.experiment.test_compose import photos
from tests.nasvit.experiment.tiny import few_digits, without_programs

PACES = Paces(plain=(1.0,), supernet=0.0, evaluation=0.2, final=1.0, found=1.0)
HOURS = 4 / 3600


@pytest.fixture(autouse=True)
def _known_paces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of which everybody knows how fast it is, and that takes no time to find out."""
    monkeypatch.setattr(planning.Timing, "paces", lambda self, way: PACES)


def test_the_file_is_the_planned_experiment_and_runs_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["macs<=300K"]
    with few_digits(300), without_programs():
        words = ["nasvit", "init", "digits", "--budget", asked[0], "--hours", str(HOURS), "--out", "own.yaml"]
        monkeypatch.setattr(sys, "argv", words)
        cli.main()
        assert "written: own.yaml" in capsys.readouterr().out
        path = Path("own.yaml")
        experiment = Experiment.load(path)
        epochs = experiment.finetune.recipe.epochs
        plan = make_plan("prior", 3600 * HOURS, 0.0, PACES)
        assert 1 <= epochs <= plan.final_epochs
        composed = compose("digits", asked, HOURS)
        recipe = planned(composed, plan).finetune.recipe
        assert (
            experiment.finetune.recipe.learning_rate == recipe.learning_rate != composed.finetune.recipe.learning_rate
        )
        assert experiment.search.evaluate == "prior" and experiment.hours is None
        assert (experiment.data, experiment.train) == (composed.data, composed.train)
        rows = run(open_workbench(path, tmp_path / "out"))
    assert [row["epochs"] for row in rows] == [{"scratch": epochs}]
    text = path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"own.yaml is there already and is not replaced; give another --out"):
        write_experiment("digits", asked, HOURS, path, ALONE)
    assert path.read_text(encoding="utf-8") == text
    assert "training images of 10 classes and" in text and "Classes have about equally many images" in text


def test_uneven_and_few_images_are_told_and_names_of_classes_stay_in_their_comments(tmp_path: Path) -> None:
    source = Path(photos(tmp_path / "images", [(8, 8)] * 14))
    for part in ("train", "val"):
        (source / part / "dogs").rename(source / part / "dogs\nseed: 3")
        for number in (2, 4, 6, 8):
            (source / part / "cats" / f"{number}.png").unlink()
    out = tmp_path / "new.yml"
    write_experiment(str(source), [], HOURS, out, ALONE, "micro8")
    text = out.read_text(encoding="utf-8")
    assert "uneven, from 3 of cats to 7 of dogs?seed: 3." in text and "Of 2 of the 2 classes" in text
    assert "None was asked for" in text
    experiment = Experiment.load(out)
    assert experiment.seed == 0 and experiment.space == "micro8"
    assert [str(each) for each in experiment.search.budgets] == ["macs<=310K"]
    assert usual_budget(Seen(1000, 3, 200, False)) == "macs<=20M"
    assert usual_budget(Seen(1000, 1, 8, True)) == "macs<=310K" == usual_budget(Seen(1000, 3, 8, True), "micro8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "no such folder"),
        (["empty"], "empty"),
        (["digits", "--budget", "macs<=50%"], "is a share of a network's cost"),
        (["coco:empty"], "nasvit init is for classes"),
        (["digits", "--hours", "1e-5"], "are not enough for one epoch"),
        (["digits", "--hours", "-1"], "hours"),
        (["digits", "--budget", "macs<=1"], "no subnet of micro8 meets macs<=1"),
        (["digits", "--out", "own.txt"], "names that end in .yaml"),
    ],
)
def test_what_is_wrong_is_told_in_words_and_nothing_is_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["nasvit", "init", *words])
    with pytest.raises(SystemExit):
        cli.main()
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
