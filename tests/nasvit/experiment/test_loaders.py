"""How the images of an experiment or of a fit are served: what the file says, shared out to processes in training only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from nasvit.compute import Compute
from nasvit.data import Loader, load_images
from nasvit.data.config import DataConfig
from nasvit.experiment.fit import images_of
from nasvit.experiment.images import Images
from nasvit.experiment.pipeline import open_workbench
from nasvit.experiment.training import FitConfig
from nasvit.export.card import Card
from nasvit.names import spec_of_name
from search_spaces.recipe import Recipe
from search_spaces.values import FieldError
from tests.nasvit.experiment.tiny import write_experiment

CPU = Compute()
RECIPE = Recipe(optimizer="sgd", learning_rate=0.1, epochs=1, batch_size=64)
FIT = "network: micro8:largest\ndata: {source: digits, padding: 1}\nrecipe: {optimizer: sgd, learning_rate: 0.1, epochs: 1, batch_size: 64}\n"


def experiment_loaders(folder: Path, compute: Compute = CPU, **changed: Any) -> dict[str, Loader]:
    bench = open_workbench(write_experiment(folder), folder / "out")
    bench.experiment = replace(bench.experiment, data=replace(bench.experiment.data, **changed))
    return loaders_of(bench.images, bench.experiment.train.recipe, compute)


def fit_loaders(folder: Path, compute: Compute = CPU, **changed: Any) -> dict[str, Loader]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fit.yaml").write_text(FIT)
    config = FitConfig.load(folder / "fit.yaml")
    images = images_of(replace(config, data=replace(config.data, **changed)))
    return loaders_of(images, config.recipe, compute)


def loaders_of(images: Images, recipe: Recipe, compute: Compute) -> dict[str, Loader]:
    return {
        "training": images.training(recipe, compute=compute),
        "evaluation": images.evaluation_loader(images.validation, 64, compute=compute),
    }


BOTH = pytest.mark.parametrize("loaders", [experiment_loaders, fit_loaders])


@BOTH
@pytest.mark.parametrize("rank", [0, 1])
def test_each_of_several_processes_gets_its_part_of_training_and_its_share_of_evaluation(
    loaders: Any, rank: int, tmp_path: Path
) -> None:
    alone = loaders(tmp_path / "alone", crop="none")
    shared = loaders(tmp_path / "shared", Compute(rank=rank, count=2), crop="none")
    whole, part = alone["training"].batch(0, 0)[0], shared["training"].batch(0, 0)[0]
    quarter = len(whole) // 4
    expected = [whole[quarter:-quarter]] if rank else [whole[:quarter], whole[-quarter:]]
    assert torch.equal(part, torch.cat(expected))
    wanted = [images for images, _ in alone["evaluation"].evaluation_batches()][rank::2]
    served = [images for images, _ in shared["evaluation"].evaluation_batches()]
    assert all(torch.equal(*pair) for pair in zip(served, wanted, strict=True))


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
    calibration = torch.cat(list(bench.calibration()))
    assert len(calibration) == 64
    known = torch.cat([images for images, _ in bench.images.evaluation_loader(bench.images.train).evaluation_batches()])
    held_out = torch.cat(
        [images for images, _ in bench.images.evaluation_loader(bench.images.validation).evaluation_batches()]
    )
    assert (calibration[:, None] == known[None]).flatten(2).all(2).any(1).all()
    assert not (calibration[:, None] == held_out[None]).flatten(2).all(2).any(1).all()


def test_loaders_of_the_same_images_are_kept_and_those_of_others_are_their_own() -> None:
    images = Images(DataConfig("digits"), seed=1)
    kept = images.evaluation_loader(images.validation)
    assert images.evaluation_loader(images.validation) is kept
    assert images.calibration(2, 32) is images.calibration(2, 32)
    others = [
        images.evaluation_loader(images.test),
        images.evaluation_loader(images.validation, 100),
        images.evaluation_loader(images.validation, compute=Compute(count=2)),
    ]
    assert len({kept, *others}) == 4
    assert images.training(RECIPE) is not images.training(RECIPE)


def test_loaders_get_the_device_and_processes_of_their_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compute, "from_first", lambda self, work: work())  # there is no other process
    compute = Compute(torch.device("meta"), rank=1, count=2)
    images = Images(DataConfig("digits"), seed=1, compute=compute)
    loaders = [images.training(RECIPE), images.evaluation_loader(images.validation)]
    assert [loader.compute for loader in loaders] == [compute, compute]
    assert images.calibration(2, 32)[0].device.type == images.calibration_of(64)[0].device.type == "meta"
    assert images.calibration(2, 32, compute=CPU)[0].device.type == "cpu"


@pytest.mark.parametrize("changed", [{"crop_pct": 0.0}, {"crop_pct": 1.5}, {"workers": -1}])
def test_values_of_the_data_section_out_of_range_are_refused_by_name(changed: dict[str, Any]) -> None:
    with pytest.raises(FieldError, match=next(iter(changed))):
        DataConfig("digits", **changed)


def test_a_crop_ratio_stands_on_the_card_of_what_was_trained(tmp_path: Path) -> None:
    images = Images(DataConfig("digits", image_size=16, crop_pct=0.5, crop="none"), seed=1)
    images.card(spec_of_name("micro8:smallest"), {}).write(tmp_path)
    assert Card.read(tmp_path).crop_pct == 0.5


def test_a_crop_ratio_leaves_images_encoded_and_reaches_the_evaluation(tmp_path: Path) -> None:
    for name, level in (("a", 0), ("b", 255)):
        (tmp_path / name).mkdir()
        for index in range(20):
            framed = Image.new("RGB", (32, 32), (255 - level,) * 3)
            framed.paste((level,) * 3, (4, 4, 28, 28))
            framed.save(tmp_path / name / f"{index}.png")
    config = DataConfig(str(tmp_path), image_size=16, validation=0.5, crop_pct=0.5)
    images = Images(config, seed=1)
    assert images.train.image_size is None and load_images(tmp_path, image_size=16).image_size == (16, 16)
    for pixels, _ in images.evaluation_loader(images.test).evaluation_batches():
        assert pixels.shape[2:] == (16, 16) and all(colors(image) == 1 for image in pixels)
    whole = Images(replace(config, crop_pct=1.0), seed=1)
    framed_pixels = next(whole.evaluation_loader(whole.test).evaluation_batches())[0]
    assert colors(framed_pixels[0]) > 1


def colors(image: torch.Tensor) -> int:
    return image.flatten(1).unique(dim=1).shape[1]
