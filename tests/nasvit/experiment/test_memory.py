"""What a training takes is said before it begins, and what cannot fit is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from nasvit.compute import ALONE, Compute
from nasvit.data.config import DataConfig
from nasvit.experiment.fit import fitting_of
from nasvit.experiment.made_up import Counted, MadeUpImages
from nasvit.experiment.memory import require_memory
from nasvit.experiment.training import FitConfig
from nasvit.training.trainer import Trainer
from search_spaces.recipe import Recipe


@pytest.fixture(autouse=True)
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compute, "free_memory", lambda _: 10**9)


def trainer_of(task: Any, folder: Path, **how: Any) -> Trainer:
    recipe = Recipe("sgd", 0.01, epochs=2, batch_size=16)
    size = 64 if task == "classification" else (64, 64)
    data = DataConfig("none", image_size=size, crop="resized")
    how = {"network": "mobilenet_v2-0.35", **how}
    config = FitConfig(task=task, data=data, recipe=recipe, program=False, **how)
    counted = Counted("", 100, 10, 10, ("a", "b", "c"), 3, (64, 64))
    images = MadeUpImages(counted, data, seed=0, compute=ALONE, head=config.whole_head)
    return fitting_of(config, images).trainer(folder, every=0)


@pytest.mark.parametrize("task", ["classification", "detection", "segmentation"])
def test_what_a_training_takes_is_said(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require_memory(trainer_of(task, tmp_path))
    said = capsys.readouterr().out
    assert said.startswith("mobilenet_v2-0.35: a step takes about ") and "MB (batch 16; " in said


def test_nothing_is_said_of_a_step_that_fits_in_any_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Compute, "free_memory", lambda _: 10**10)
    require_memory(trainer_of("classification", tmp_path))
    assert not capsys.readouterr().out


def test_a_training_that_does_not_fit_is_refused_with_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = trainer_of("classification", tmp_path)
    monkeypatch.setattr(Compute, "free_memory", lambda _: 20_000_000)
    with pytest.raises(ValueError, match=r"and 20 MB are free on cpu; give accumulate: \d, recompute: true, or a smal"):
        require_memory(trainer)
    require_memory(trainer_of("classification", tmp_path, recompute=True, accumulate=4))
    assert "(batch 16, 4 images at once; " in capsys.readouterr().out.splitlines()[-1]
    monkeypatch.setattr(Compute, "free_memory", lambda _: 1000)
    with pytest.raises(ValueError, match="take a smaller network"):
        require_memory(trainer)
    monkeypatch.setattr(Compute, "free_memory", lambda _: None)
    require_memory(trainer)


class AsksForNumbers(nn.Module):
    """A user's network whose way depends on the pixels."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.classify = nn.Linear(3, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3))
        return self.classify(-mean if mean.mean().item() < 0 else mean)


def test_where_nothing_can_be_foreseen_nothing_is_said_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_memory(trainer_of("classification", tmp_path, network=f"{__name__}:AsksForNumbers"))
    assert not capsys.readouterr().out
