"""Images that changed since a run began are noticed when it is started again, whatever was done of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nasvit.data.config import DataConfig
from nasvit.experiment import images as experiment_images
from nasvit.experiment.fit import CONFIG, RESULTS, fit
from nasvit.experiment.images import Images
from nasvit.experiment.pipeline import open_workbench
from nasvit.experiment.training import FitConfig
from nasvit.experiment.workbench import Workbench
from nasvit.files.records import write_json
from tests.nasvit.experiment.test_mistakes import FIT, pictures
from tests.nasvit.experiment.tiny import write_experiment

CHANGED = r"its {} images are not those that the results in .*out rest on: .*{}.* give another output folder"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return pictures(tmp_path / "photos")


def bench_of(folder: Path, photos: Path) -> Workbench:
    experiment_images._loaded.cache_clear()  # as another process would
    data = f"data: {{source: {photos}, validation: 0.4, image_size: 8, padding: 1}}"
    return open_workbench(write_experiment(folder, data=data, space="space: micro32"), folder / "out")


def test_an_experiment_goes_on_with_the_images_that_it_began_with_only(tmp_path: Path, photos: Path) -> None:
    bench_of(tmp_path, photos).images.open()
    (photos / "train" / "blue").rename(photos / "train" / "sky")
    (photos / "val" / "blue").rename(photos / "val" / "sky")
    bench_of(tmp_path, photos).images.open()  # nothing was begun, so that there is nothing to rest on anything
    (tmp_path / "out" / "train").mkdir()
    bench_of(tmp_path, photos).images.open()
    (photos / "val" / "red" / "3.png").unlink()
    with pytest.raises(ValueError, match=CHANGED.format("test", "class 'red' has 9 images, before 10")):
        bench_of(tmp_path, photos).images.open()
    (photos / "train" / "sky").rename(photos / "train" / "blue")
    with pytest.raises(ValueError, match=CHANGED.format("train", "class 'sky' is called 'blue' now")):
        assert bench_of(tmp_path, photos).images
    (tmp_path / "out" / "data.json").unlink()  # a folder of an earlier version: what is there now is remembered
    (tmp_path / "out" / "split.json").unlink()
    (photos / "val" / "sky").rename(photos / "val" / "blue")
    bench_of(tmp_path, photos).images.open()
    assert (tmp_path / "out" / "data.json").exists()


def test_images_that_change_while_they_are_worked_with_are_noticed_at_the_end(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", wide=12)
    config = DataConfig(str(folder), image_size=8, crop_pct=0.9, validation=0.4)
    images = Images(config, seed=0, folder=tmp_path / "out")
    images.open()
    images.require_unchanged()
    (folder / "val" / "red").rename(folder / "val" / "rot")
    words = "its test images are not .*10 of 20 files looked at have another content, or none: red/0.png"
    with pytest.raises(ValueError, match=words):
        images.require_unchanged()


def test_a_training_is_refused_and_its_results_are_not_shown_for_other_images(tmp_path: Path, photos: Path) -> None:
    text = FIT.replace("digits, padding: 1", f"{photos}, image_size: 8, padding: 1").replace("images: 200\n", "")
    (tmp_path / "fit.yaml").write_text(text.replace("micro8:smallest", "tinymbv2@32"))
    asked, out = FitConfig.load(tmp_path / "fit.yaml"), tmp_path / "out"
    write_json(out / CONFIG, asked.to_json())
    write_json(out / RESULTS, {"finished": True})
    assert fit(asked, out) == {"finished": True}
    (photos / "train" / "blue").rename(photos / "train" / "sky")
    changed = CHANGED.format("train", "class 'blue' is called 'sky' now")
    for finished in (True, False):
        experiment_images._loaded.cache_clear()
        with pytest.raises(ValueError, match=changed):
            fit(asked, out)
        if finished:
            (out / RESULTS).unlink()
    write_json(out / RESULTS, {"finished": True})
    shutil.rmtree(photos)
    experiment_images._loaded.cache_clear()
    with pytest.warns(UserWarning, match="results in .* are shown, though their images cannot be opened"):
        assert fit(asked, out) == {"finished": True}
