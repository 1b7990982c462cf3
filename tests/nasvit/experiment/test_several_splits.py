"""Finalists that are trained from random weights on several splits of few images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasvit.experiment.pipeline import open_workbench
from nasvit.experiment.stages.search import search
from nasvit.experiment.stages.splits import mean_record, splits, splits_of
from nasvit.experiment.stages.trials import finalist_folder
from nasvit.experiment.workbench import Workbench
from tests.nasvit.experiment.test_recipe_search import write
from tests.nasvit.experiment.tiny import few_digits, write_experiment

SCRATCH = """\
budgets: [macs<=300K]
evaluate: scratch
evaluations: 4
finalists: 2
images: 50
train_images: 64"""

FEW = "data: {source: digits, padding: 1, validation: 0.1}"


def opened(folder: Path, section: str = SCRATCH, data: str = FEW) -> Workbench:
    return open_workbench(write(folder, section, data=data), folder / "out")


def rows(images: torch.Tensor) -> list[bytes]:
    return sorted(image.numpy().tobytes() for image in images)


def test_few_images_are_split_three_times_and_every_time_otherwise(tmp_path: Path) -> None:
    bench = opened(tmp_path)
    found = splits(bench)
    assert len(found) == 3
    assert found[0] == (bench.images.train, bench.images.validation)
    for train, held_out in found:
        assert (len(train), len(held_out)) == (1294, 144)
        assert rows(torch.cat([train.pixels, held_out.pixels])) == rows(bench.images.whole.pixels)
    assert len({tuple(rows(held_out.pixels)) for _, held_out in found}) == 3


def test_many_images_or_a_supernet_leave_one_split_unless_more_are_asked_for(tmp_path: Path) -> None:
    many = "data: {source: digits, padding: 1, validation: 0.3}"
    assert splits_of(opened(tmp_path / "many", data=many)) == 1
    assert splits_of(opened(tmp_path / "asked", f"{SCRATCH}\nsplits: 2", many)) == 2
    assert splits_of(open_workbench(write_experiment(tmp_path / "supernet", data=FEW), tmp_path / "out")) == 1
    for illegal, words in (
        ("finetune\nsplits: 2", "has seen the training images"),
        ("scratch\nsplits: 0", "0 is illegal"),
    ):
        with pytest.raises(ValueError, match=rf"search\.splits: .*{words}"):
            opened(tmp_path / "illegal", SCRATCH.replace("scratch", illegal))


def test_finalists_are_judged_by_their_mean_over_the_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with few_digits():
        bench = opened(tmp_path)
        (choice,) = search(bench)
    (path,) = (bench.folder / "search").glob("finalists-3-splits-*.jsonl")
    finalists = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(finalists) == 2
    for each in finalists:
        assert (each["splits"], each["images"], each["macs"] <= 300_000) == (3, 3 * 48, True)
        accuracies = each["per_image"]["accuracy"]
        assert len(accuracies) == 3 * 48
        assert each["score"] == pytest.approx(np.mean(accuracies), abs=1e-3)
        assert each["loss"] == pytest.approx(np.mean(each["per_image"]["loss"]), abs=1e-3)
        parts = np.reshape(accuracies, (3, 48)).mean(1)
        assert len(set(parts)) > 1
        assert each["curve"][-1] == pytest.approx(parts[0], abs=1e-3)
    assert choice.score == max(each["score"] for each in finalists)
    assert choice.evidence["images"] == 3 * 48
    assert "144 held-out images of 3 splits: differences below" in capsys.readouterr().out
    assert (finalist_folder(bench, choice.candidate) / "card.json").exists()


def test_a_training_that_collapses_on_one_split_counts_as_guessing_there() -> None:
    whole: dict[str, Any] = {"score": 0.8, "loss": 0.6, "accuracy": 0.8, "images": 50, "per_image": {"loss": [0.6]}}
    collapsed = {"score": 0.1, "loss": 2.3, "images": 50, "collapsed": "at step 3"}
    for records in ([whole, collapsed], [collapsed, whole]):
        mean = mean_record(records)
        assert (mean["score"], mean["loss"]) == (pytest.approx(0.45), pytest.approx(1.45))
        assert (mean["collapsed"], mean["images"], mean["splits"]) == ("at step 3", 100, 2)
    assert mean_record([whole]) is whole
