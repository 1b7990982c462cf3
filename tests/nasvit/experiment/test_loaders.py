"""How the images of an experiment or of a fit are served: what the file says, shared out to processes in training only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nasvit.data import Loader
from nasvit.experiment.fit import images_of
from nasvit.experiment.pipeline import open_workbench
from nasvit.experiment.training import FitConfig
from tests.nasvit.experiment.tiny import write_experiment

FIT = "network: micro8:largest\ndata: {source: digits, padding: 1}\nrecipe: {optimizer: sgd, learning_rate: 0.1, epochs: 1, batch_size: 64}\n"


def experiment_loaders(folder: Path, **changed: Any) -> dict[str, Loader]:
    bench = open_workbench(write_experiment(folder), folder / "out")
    bench.experiment = replace(bench.experiment, data=replace(bench.experiment.data, **changed))
    return {
        "training": bench.images.training(bench.experiment.train.recipe),
        "evaluation": bench.images.evaluation_loader(bench.images.validation),
    }


def fit_loaders(folder: Path, **changed: Any) -> dict[str, Loader]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fit.yaml").write_text(FIT)
    config = FitConfig.load(folder / "fit.yaml")
    images = images_of(replace(config, data=replace(config.data, **changed)))
    return {"training": images.training(config.recipe), "evaluation": images.evaluation_loader(images.validation)}


BOTH = pytest.mark.parametrize("loaders", [experiment_loaders, fit_loaders])


@BOTH
@pytest.mark.parametrize("rank", [0, 1])
def test_each_of_several_processes_trains_on_its_part_and_evaluates_everything(
    loaders: Any, rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = loaders(tmp_path / "alone", crop="none")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    shared = loaders(tmp_path / "shared", crop="none")
    whole, part = alone["training"].batch(0, 0)[0], shared["training"].batch(0, 0)[0]
    quarter = len(whole) // 4
    expected = [whole[quarter:-quarter]] if rank else [whole[:quarter], whole[-quarter:]]
    assert torch.equal(part, torch.cat(expected))
    for mine, wanted in zip(shared["evaluation"].evaluation_batches(), alone["evaluation"].evaluation_batches()):
        assert torch.equal(mine[0], wanted[0])


@BOTH
@pytest.mark.parametrize("changed", [{"crop": "none"}, {"padding": 2}, {"mirror": False, "crop": "resized"}])
def test_the_data_section_decides_how_training_images_are_varied(
    loaders: Any, changed: dict[str, Any], tmp_path: Path
) -> None:
    base, other = loaders(tmp_path / "base"), loaders(tmp_path / "other", **changed)
    assert not torch.equal(base["training"].batch(0, 0)[0], other["training"].batch(0, 0)[0])
    for mine, wanted in zip(other["evaluation"].evaluation_batches(), base["evaluation"].evaluation_batches()):
        assert torch.equal(mine[0], wanted[0])


@BOTH
def test_worker_processes_are_used_where_the_file_asks_for_them(loaders: Any, tmp_path: Path) -> None:
    served = loaders(tmp_path, workers=2)
    assert {loader.workers for loader in served.values()} == {2}


def test_statistics_are_taken_from_training_images_as_they_are(tmp_path: Path) -> None:
    bench = open_workbench(write_experiment(tmp_path), tmp_path / "out")
    calibration = torch.cat(bench.calibration())
    assert len(calibration) == 64
    known = torch.cat([images for images, _ in bench.images.evaluation_loader(bench.images.train).evaluation_batches()])
    held_out = torch.cat(
        [images for images, _ in bench.images.evaluation_loader(bench.images.validation).evaluation_batches()]
    )
    assert (calibration[:, None] == known[None]).flatten(2).all(2).any(1).all()
    assert not (calibration[:, None] == held_out[None]).flatten(2).all(2).any(1).all()
