"""Bad images that are left out: found once, and remembered in a file."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nasvit.compute import Compute
from nasvit.data import BadImageError, EncodedImages, check, load_images
from nasvit.data.config import DataConfig
from nasvit.experiment import images as experiment_images
from nasvit.experiment.images import Images
from nasvit.files.records import read_json
from tests.nasvit.data.test_bad_images import SIZES, noise
from tests.nasvit.data.test_sources import encoded, write_folder, write_tar

pytestmark = pytest.mark.filterwarnings("ignore:.*bad image")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of several sizes, 3 x 10, one of which is bad."""
    folder = write_folder(tmp_path / "all", count=10, sizes=SIZES)
    (folder / "red" / "3.png").write_bytes(b"?")
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of images that were decoded, one for every time that all were."""
    counts: list[int] = []
    find = check.find_bad

    def counted(images, *rest, **options):  # type: ignore[no-untyped-def]
        counts.append(len(images))
        return find(images, *rest, **options)

    monkeypatch.setattr(check, "find_bad", counted)
    return counts


def both_splits(source: Path, record: Path | None) -> list[list[int]]:
    splits = [load_images(source, split, on_bad_image="skip", record=record) for split in ("train", "test")]  # type: ignore[arg-type]
    return [split.images.indices.tolist() for split in splits]  # type: ignore[union-attr]


def test_with_a_record_all_images_are_decoded_once_for_both_splits_and_for_the_next_start(
    folder: Path, tmp_path: Path, decoded: list[int]
) -> None:
    expected = both_splits(folder, None)
    assert decoded == [30, 30]
    assert both_splits(folder, tmp_path / "bad.json") == expected and decoded == [30, 30, 30]
    assert both_splits(folder, tmp_path / "bad.json") == expected and decoded == [30, 30, 30]


def test_what_is_remembered_is_said_again(folder: Path, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"1 bad image left out. .*red/3.png: it is no image of a known format$"):
            load_images(folder, on_bad_image="skip", record=tmp_path / "bad.json")


def test_the_record_names_every_bad_image_with_its_reason(folder: Path, tmp_path: Path) -> None:
    (folder / "blue" / "0.png").write_bytes(b"")
    load_images(folder, on_bad_image="skip", record=tmp_path / "bad.json")
    (written,) = read_json(tmp_path / "bad.json").values()
    assert written["images"] == 30
    assert [(Path(each["image"]).name, each["reason"]) for each in written["bad"]] == [
        ("0.png", "it is empty"),
        ("3.png", "it is no image of a known format"),
    ]


@pytest.mark.parametrize("tarred", [False, True])
def test_a_repaired_image_is_looked_at_again(folder: Path, tmp_path: Path, decoded: list[int], tarred: bool) -> None:
    record = tmp_path / "bad.json"
    before = both_splits(write_tar(tmp_path / "all.tar", folder) if tarred else folder, record)
    (folder / "red" / "3.png").write_bytes(encoded("red", (20, 20)))
    after = both_splits(write_tar(tmp_path / "all.tar", folder) if tarred else folder, record)
    assert [sum(map(len, splits)) for splits in (before, after)] == [29, 30]
    assert decoded == [30, 30]


def test_a_folder_that_was_moved_is_not_decoded_again(folder: Path, tmp_path: Path, decoded: list[int]) -> None:
    before = both_splits(folder, tmp_path / "bad.json")
    assert both_splits(folder.rename(tmp_path / "moved"), tmp_path / "bad.json") == before
    assert decoded == [30]


def test_of_several_processes_one_decodes_and_says_so(
    folder: Path, tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DataConfig(str(folder), image_size=16, crop_pct=0.8, validation=0.3, on_bad_image="skip")
    first = Images(config, seed=0, folder=tmp_path / "out")
    second = Images(config, seed=0, folder=tmp_path / "out", compute=Compute(rank=1, count=2))

    told: list[object] = []

    def from_first(self: Compute, work: Callable[[], object]) -> object:
        if not self.is_first:
            return told.pop(0)
        told.append(work())
        return told[-1]

    monkeypatch.setattr(Compute, "from_first", from_first)

    def open_in_turn() -> None:
        first.open()
        experiment_images._loaded.cache_clear()  # what the first has in memory is not here
        second.open()

    with pytest.warns(UserWarning, match="1 bad image") as said:
        open_in_turn()
    assert "data" in first.__dict__
    assert second.data.record == first.data.record and len(second.test) == len(first.test)
    assert decoded == [30] and len(said) == 2  # one for each split


def cut_some(folder: Path) -> list[str]:
    """Cut an image of every kind off, and add a good one of each that has more behind its end; name the former."""
    cut = []
    for ending in ("jpg", "png", "gif", "webp", "tiff", "bmp"):
        good, bad = folder / "red" / f"good.{ending}", folder / "green" / f"cut.{ending}"
        noise(good)
        bad.write_bytes(good.read_bytes()[:-300])
        with good.open("ab") as file:
            file.write(bytes(3))
        cut.append(f"green/{bad.name}")
    (folder / "blue" / "1.png").write_text("<html>not found</html>")
    (folder / "blue" / "2.png").write_bytes(b"")
    return sorted([*cut, "blue/1.png", "blue/2.png"])


@pytest.mark.parametrize("tarred", [False, True])
def test_bad_images_of_both_splits_stop_before_anything_is_decoded_and_are_all_named_in_a_file(
    tmp_path: Path, tarred: bool, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = cut_some(write_folder(tmp_path / "all" / "train", count=20, sizes=SIZES))
    write_folder(tmp_path / "all" / "val", count=20, sizes=SIZES)
    (tmp_path / "all" / "val" / "red" / "4.png").write_text("nothing")
    for split in ("train", "val") if tarred else ():
        write_tar(tmp_path / "all" / f"{split}.tar", tmp_path / "all" / split)
        shutil.rmtree(tmp_path / "all" / split)
    opened, find = list[str](), EncodedImages.open

    def opening(self: EncodedImages, index: int, *rest: object) -> object:
        opened.append(self.name(index))
        return find(self, index, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(EncodedImages, "open", opening)

    def start() -> None:
        config = DataConfig(str(tmp_path / "all"), image_size=16, crop_pct=0.8, validation=0.3)
        experiment_images._loaded.cache_clear()
        Images(config, seed=0, folder=tmp_path).open()

    with pytest.raises(BadImageError, match="8 bad images.*\n.*1 bad image.*red/4.png: it is no image") as caught:
        start()
    for name in cut:
        assert re.search(rf"{name}: [^;]*(no image|empty|truncated|broken|cut|decod|read)", str(caught.value)), name
    told = read_json(tmp_path / "bad_images.json").values()
    assert sorted(len(each["bad"]) for each in told) == [1, 8]
    assert all("good" not in name or name.endswith(("tiff", "bmp", "png", "webp")) for name in opened)
    assert not any("val" in name and name.endswith("png") for name in opened)


def test_what_was_looked_at_is_not_looked_at_again_before_it_changes(tmp_path: Path, decoded: list[int]) -> None:
    folder = write_folder(tmp_path / "all", count=10, sizes=SIZES)

    def start() -> None:
        experiment_images._loaded.cache_clear()
        config = DataConfig(str(folder), image_size=16, crop_pct=0.8, validation=0.3)
        Images(config, seed=0, folder=tmp_path).open()

    for _ in range(2):
        start()
        assert decoded == [24, 6]
    (folder / "red" / "3.png").write_bytes(encoded("red", (20, 22)))
    start()
    assert sum(decoded) == 60


@pytest.mark.parametrize("memory_limit", [0, 2**20])
def test_a_class_that_loses_all_its_images_is_named(tmp_path: Path, memory_limit: int) -> None:
    folder = write_folder(tmp_path / "all", count=10)
    for path in (folder / "green").iterdir():
        path.write_text("nothing")
    with pytest.raises(BadImageError, match="no good image is left of these classes.*: green$"):
        load_images(folder, on_bad_image="skip", memory_limit=memory_limit)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs a system that binds processes to processors")
def test_while_the_others_wait_one_process_takes_all_processors(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def stream(prepare: object, keys: object, *, workers: int, pin: bool) -> list[dict[int, str]]:
        asked.append(workers)
        return []

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(8))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(check, "Stream", stream)
    monkeypatch.setattr(check, "_ALONE", 0)
    for record in (None, tmp_path / "bad.json"):
        load_images(folder, on_bad_image="skip", record=record)
    assert asked == [2, 8]
