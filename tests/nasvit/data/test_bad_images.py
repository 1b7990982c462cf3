"""Broken images: named with their reasons, all at once where all are decoded, or left out."""

from __future__ import annotations

import errno
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nasvit.data import BadImageError, EncodedImages, ImageSet, Loader, Normalization, load_images
from nasvit.data.config import DataConfig
from nasvit.experiment.images import Images
from search_spaces.values import FieldError
from tests.nasvit.data.annotated_folders import write_yolo
from tests.nasvit.data.test_sources import write_folder, write_tar

SIZES = ((20, 20), (20, 24))


def noise(path: Path) -> bytes:
    Image.fromarray(np.random.default_rng(0).integers(256, size=(20, 20, 3), dtype=np.uint8)).save(path)
    return path.read_bytes()


def break_some(folder: Path) -> dict[str, str]:
    """Break images of a folder of 3 x 10; return what is said of each."""
    jpeg, png = noise(folder / "red" / "5.jpg"), noise(folder / "red" / "6.png")
    (folder / "red" / "5.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "red" / "6.png").write_bytes(png[: len(png) // 2])
    (folder / "blue" / "0.png").write_bytes(b"")
    (folder / "blue" / "1.png").write_text("<html>not found</html>")
    (folder / "green" / "2.png").unlink()
    (folder / "green" / "2.png").symlink_to(folder / "nowhere.png")
    (folder / "green" / "folder.png").mkdir()
    return {
        "blue/0.png": "it is empty",
        "blue/1.png": "no image of a known format",
        "green/2.png": "No such file",
        "red/5.jpg": "(?i:truncated)",
        "red/6.png": "truncated|broken",
    }


@pytest.mark.parametrize("image_size", [None, 8])
def test_sets_decoded_whole_name_every_bad_image_with_its_reason_and_the_way_out(
    tmp_path: Path, image_size: int | None
) -> None:
    said = break_some(write_folder(tmp_path / "all", count=10, sizes=((20, 20),)))
    with pytest.raises(BadImageError, match="5 bad images.*on_bad_image: skip") as caught:
        load_images(tmp_path / "all", image_size=image_size)
    for name, reason in said.items():
        with pytest.raises(BadImageError, match=f"{name}: [^;]*({reason})"):
            raise caught.value


def test_only_the_first_ten_are_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "all", count=10)
    for index in range(10):
        (folder / "red" / f"{index}.png").write_bytes(b"?")
        (folder / "green" / f"{index}.png").write_bytes(b"")
    with pytest.raises(BadImageError, match="20 bad images.*green/9.png: it is empty; and 10 more$") as caught:
        load_images(folder)
    assert "red" not in str(caught.value)


@pytest.mark.parametrize("sizes", [((20, 20),), SIZES])
@pytest.mark.parametrize("workers", [0, 2])
def test_bad_images_are_left_out_before_splits_are_drawn_with_one_warning(
    tmp_path: Path, sizes: tuple[tuple[int, int], ...], workers: int
) -> None:
    said = break_some(write_folder(tmp_path / "all", count=10, sizes=sizes))
    with pytest.warns(UserWarning, match="5 bad images left out.*blue/0.png: it is empty") as warned:
        train = load_images(tmp_path / "all", on_bad_image="skip", workers=workers)
    assert len([each for each in warned if "bad image" in str(each.message)]) == 1
    with pytest.warns(UserWarning, match="5 bad images"):
        tested = load_images(tmp_path / "all", "test", on_bad_image="skip", workers=workers)
    assert len(train) + len(tested) == 30 + 1 - len(said)  # one of them, red/5.jpg, was added
    assert isinstance(train.images, EncodedImages) == (len(sizes) > 1)
    for images in (train, tested):
        for index in range(len(images)):
            images.open(index)


def test_good_images_bring_no_warning(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "all", count=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_images(folder, on_bad_image="skip", memory_limit=0)) == 24


def test_empty_and_missing_files_are_bad_before_anything_is_decoded(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "all", count=10, sizes=SIZES)
    (folder / "red" / "3.png").write_bytes(b"")
    with pytest.raises(BadImageError, match="1 bad image.*red/3.png: it is empty"):
        load_images(folder)


def test_a_bad_member_of_a_tar_file_is_named_with_its_archive(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", count=10)
    (folder / "red" / "3.png").write_bytes(b"?")
    with pytest.raises(BadImageError, match=r"all\.tar: red/3\.png: it is no image of a known format"):
        load_images(write_tar(tmp_path / "all.tar", folder))


def streamed(folder: Path) -> tuple[ImageSet, int]:
    write_folder(folder, count=10, sizes=SIZES)
    (folder / "red" / "3.png").write_bytes(b"?")
    images = EncodedImages.of_files(sorted(folder.rglob("*.png")))
    return ImageSet(images, torch.zeros(30, dtype=torch.int64), ("any",), "files"), 23


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_that_is_streamed_stops_by_name(tmp_path: Path, workers: int) -> None:
    images, _ = streamed(tmp_path / "all")
    normalization = Normalization((0.0,) * 3, (1 / 255,) * 3, "nothing")
    loader = Loader(images, batch_size=4, normalization=normalization, image_size=8, workers=workers)
    for batches in (loader.evaluation_batches(), loader.steps(0, 7)):
        with pytest.raises(BadImageError) as caught:
            list(batches)
        assert str(caught.value).startswith(f"{tmp_path / 'all' / 'red' / '3.png'}: it is no image of a known format; ")
        assert str(caught.value).endswith(
            "repair or remove it, or leave bad images out (--data.on_bad_image skip; in a file data: on_bad_image: skip)"
        )


def test_a_failing_disk_is_no_bad_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, index: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    folder = write_folder(tmp_path / "all", count=10, sizes=SIZES)
    monkeypatch.setattr("nasvit.data.stores.FileStore.read", fail)
    for on_bad_image in ("stop", "skip"):
        with pytest.raises(OSError, match="Input/output error"):
            load_images(folder, on_bad_image=on_bad_image)  # type: ignore[arg-type]


def test_the_error_survives_being_sent(tmp_path: Path) -> None:
    images, index = streamed(tmp_path / "all")
    with pytest.raises(BadImageError) as caught:
        images.open(index)
    sent = pickle.loads(pickle.dumps(caught.value))
    assert (str(sent), sent.reason) == (str(caught.value), "it is no image of a known format")


def test_the_data_section_says_what_to_do_with_bad_images(tmp_path: Path) -> None:
    break_some(write_folder(tmp_path / "all", count=10, sizes=((20, 20),)))
    config = DataConfig(str(tmp_path / "all"), validation=0.3, on_bad_image="skip")
    with pytest.warns(UserWarning, match="5 bad images"):
        assert len(Images(config, seed=0).train) > 0
    with pytest.raises(BadImageError, match="5 bad images"):
        _ = Images(DataConfig(str(tmp_path / "all")), seed=0).train
    with pytest.raises(FieldError, match="legal are 'stop' and 'skip'"):
        DataConfig("digits", on_bad_image="leave")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="legal are 'stop' and 'skip'"):
        load_images("digits", on_bad_image="leave")  # type: ignore[arg-type]


def test_what_is_no_ordinary_file_is_a_bad_image_in_every_source(tmp_path: Path) -> None:
    folder, boxes = (
        write_folder(tmp_path / "all", count=10),
        write_yolo(tmp_path / "boxes", dict.fromkeys("abcdef", "")),
    )
    for image in (folder / "red" / "1.png", boxes / "images" / "train" / "a.png"):
        image.unlink()
        image.symlink_to(os.devnull)  # opened like a pipe, which a test would wait for
    for source, task in ((str(folder), "classification"), (f"yolo:{boxes}", "detection")):
        with pytest.raises(BadImageError, match=r"1 bad image\. .*(1|a)\.png: it is no ordinary file$"):
            load_images(source, task=task, image_size=8)  # type: ignore[arg-type]
        with pytest.warns(UserWarning, match="1 bad image left out"):
            load_images(source, task=task, on_bad_image="skip")  # type: ignore[arg-type]


def test_what_images_are_is_told_though_one_is_a_link_to_itself(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "all", count=10)
    (folder / "red" / "1.png").unlink()
    (folder / "red" / "1.png").symlink_to("1.png")
    images = Images(DataConfig(str(folder), workers=0, on_bad_image="skip"), seed=0, folder=tmp_path / "out")
    with pytest.warns(UserWarning, match="1 bad image left out. .*red/1.png: Too many levels of symbolic links"):
        assert len(images.whole) == 23


def test_names_are_told_in_one_line(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "all", count=10)
    (folder / "red" / "a\nb\x1b[1m.jpg").write_bytes(b"")
    (folder / "red" / "a\nb.txt").write_bytes(b"")
    with (
        pytest.raises(BadImageError, match=r"red/a\\nb\\x1b\[1m\.jpg: it is empty$"),
        pytest.warns(UserWarning, match="1 files that are no images") as told,
    ):
        load_images(folder)
    assert str(told[0].message).endswith(r"red/a\nb.txt")
