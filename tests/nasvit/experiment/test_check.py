"""``--check``: everything is built, steps are made on made-up images, and what is told of their costs is true."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nasvit import cli
from nasvit.compute import ALONE
from nasvit.data.config import DataConfig
from nasvit.experiment import trial
from nasvit.experiment.check import check_experiment
from nasvit.experiment.fit import fitting_of
from nasvit.experiment.made_up import Counted, MadeUpImages, count_images
from nasvit.experiment.training import FitConfig
from nasvit.experiment.trial import try_training
from search_spaces.recipe import Recipe
from tests.nasvit.experiment.tiny import few_digits, write_experiment


def test_a_check_tells_the_costs_of_every_stage_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_experiment(tmp_path)
    monkeypatch.setattr(trial, "LONGEST", 1000.0)
    monkeypatch.setattr(
        sys, "argv", ["nasvit", "run", str(path), "--check", "--output", "out", "--train.accumulate", "2"]
    )
    with few_digits():
        cli.main()
    told = capsys.readouterr().out
    assert [each.name for each in tmp_path.iterdir()] == ["tiny.yaml"]
    assert "192 training, 288 held-out and 120 test images of 10 classes" in told
    rows = {line[:37].strip(): line[37:].split() for line in told.splitlines()}
    assert rows["supernet"][:4] == ["2", "64", "6", "384"]  # 192 images, in batches of 64, twice
    assert rows["fine-tuning macs<=300K"][:4] == ["1", "64", "7", "448"]  # of all images that are not for testing
    assert "14 candidates on 164 images each, 4 finalists on 352" in told  # 64 of each calibrate batch norms
    assert "tried with 32 images" in told  # half a batch at once
    monkeypatch.setattr(sys, "argv", ["nasvit", "run", str(path), "--check", "--search.budgets", "[macs<=1K]"])
    with few_digits(), pytest.raises(SystemExit, match="2"):
        cli.main()
    assert "macs<=1K" in capsys.readouterr().err


def test_data_that_is_not_here_is_what_is_known_of_it_or_refused() -> None:
    known = count_images(DataConfig("hf:imagenet-1k", image_size=224, validation=0.01), seed=0)
    assert (known.train + known.validation, known.test, len(known.classes)) == (1_281_167, 50_000, 1000)
    assert known.validation == 12_812
    assert count_images(DataConfig("torchvision:CIFAR10"), seed=0, held_out=0.1).size == (32, 32)
    with pytest.raises(ValueError, match="image_size: is missing"):
        count_images(DataConfig("hf:imagenet-1k"), seed=0)
    for source in ("hf:nobody/nothing", "path/to/photos", "coco:path/to/coco"):
        with pytest.raises(ValueError, match=f"{source} is not here.*--data.source hf:imagenet-1k"):
            count_images(DataConfig(source, image_size=224), seed=0)


@pytest.mark.parametrize("task", ["classification", "detection", "segmentation"])
def test_steps_of_every_task_are_made_on_made_up_images(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (32, 32) if task == "classification" else (32, 64)
    recipe = Recipe("sgd", 0.01, epochs=2, batch_size=16, mixup=0.1 if task == "classification" else 0)
    data = DataConfig("none", image_size=size[0] if task == "classification" else size, crop="resized")
    config = FitConfig(task=task, network="mobilenet_v2-0.35", data=data, recipe=recipe, program=False)  # type: ignore[arg-type]
    counted = Counted("", 100, 10, 10, ("a", "b", "c"), 3, size)
    images = MadeUpImages(counted, data, seed=0, compute=ALONE, head=config.whole_head)
    monkeypatch.setattr(trial, "LONGEST", 0.0)  # seconds, so that no more images than two are tried
    found = try_training("training", fitting_of(config, images).trainer(tmp_path, every=0))
    assert (found.steps, found.images, found.tried, found.measured) == (12, 192, 2, False)
    assert not list(tmp_path.glob("*/*"))  # no checkpoint, no log


def test_as_many_images_are_tried_as_time_and_memory_allow() -> None:
    assert trial._most(2048, 2, 0.001, 1.0, None) == 2048
    assert trial._most(2048, 2, 0.01, 1.0, None) == 512  # 1024 would take more than ten seconds
    assert trial._most(2048, 2, 0.0, 2.0**20, 2**30) == 512  # 1024 would take more than there is
    assert trial._most(100, 2, 1.0, 1.0, None) == 6
    assert trial._most(2, 2, 100.0, 2.0**40, 2**30) == 2


def test_a_check_refuses_several_processes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="start it without torchrun"):
        check_experiment(write_experiment(tmp_path), (), replace(ALONE, count=2))
