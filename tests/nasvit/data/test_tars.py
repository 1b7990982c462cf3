"""Tar files, read in place: shards, WebDataset's layout, tar files in tar files."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.data.readers.reader_image_in_tar import ReaderImageInTar
from timm.utils.misc import natural_key

from nasvit.data import EncodedImages, ImageSet, Loader, Normalization, load_images
from nasvit.data.tars import _natural, list_tars
from tests.nasvit.data.test_sources import encoded, shows_its_class, write_folder, write_tar


def pack(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def class_folders(colors: list[str], start: int = 0) -> dict[str, bytes]:
    return {f"{color}/{start + index}.png": encoded(color) for index, color in enumerate(colors)}


def samples(colors: list[str], start: int = 0) -> dict[str, bytes]:
    order, files = ["red", "green", "blue"], {}
    for index, color in enumerate(colors, start):
        files[f"{index:04d}.png"] = encoded(color)
        files[f"{index:04d}.cls"] = str(order.index(color)).encode()
    return files


def all_shown(images: ImageSet) -> bool:
    return all(shows_its_class(image, images.classes[target]) for image, target in zip(images.pixels, images.targets))


COLORS = ["red", "blue", "green", "red", "blue", "green", "red", "blue", "green", "red"]


def test_shards_named_by_a_range_are_one_set_with_the_classes_of_all(tmp_path: Path) -> None:
    for shard in range(8, 11):
        pack(tmp_path / f"part-{shard:03d}.tar", class_folders(COLORS[: shard - 3], start=10 * shard))
    images = load_images(tmp_path / "part-{008..010}.tar")
    tested = load_images(str(tmp_path / "part-*.tar"), "test")
    assert len(images) + len(tested) == 5 + 6 + 7
    assert images.classes == ("blue", "green", "red") and all_shown(images) and all_shown(tested)
    assert images.note.startswith("3 tar files from part-008.tar; no test split")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    pack(tmp_path / "part-0.tar", class_folders(COLORS))
    with pytest.raises(ValueError, match=r"no such file .*part-1\.tar"):
        load_images(tmp_path / "part-{0..1}.tar")
    with pytest.raises(ValueError, match=r"no such file .*other-\*\.tar"):
        load_images(str(tmp_path / "other-*.tar"))


def test_a_folder_of_shards_has_parts_for_training_and_testing(tmp_path: Path) -> None:
    for shard in range(3):
        pack(tmp_path / f"train-{shard}.tar", class_folders(COLORS, start=10 * shard))
    pack(tmp_path / "val-0.tar", class_folders(COLORS[:3]))
    assert [len(load_images(tmp_path, split)) for split in ("train", "test")] == [30, 3]


def test_labels_beside_the_images_are_their_classes(tmp_path: Path) -> None:
    pack(tmp_path / "train-0.tar", samples(COLORS))
    pack(tmp_path / "train-1.tar", samples(COLORS, start=10))
    pack(tmp_path / "test-0.tar", samples(["green", "red"]))
    train, tested = load_images(tmp_path), load_images(tmp_path, "test")
    assert train.classes == tested.classes == ("0", "1", "2")
    assert tested.targets.tolist() == [1, 0] and len(train) == 20
    names = ("red", "green", "blue")
    assert all(shows_its_class(image, names[target]) for image, target in zip(train.pixels, train.targets))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({**samples(["red"]), "0009.png": encoded("red")}, r"0009\.png has no label: there is no 0009\.cls"),
        ({"1.png": encoded("red"), "1.cls": b"cat"}, r"1\.cls: holds b'cat', needed is a class index"),
        ({"1.png": encoded("red")}, "in no class folder, and there are no .cls files"),
        (
            {"a/1.png": b"1", "a/b/red/2.png": b"1", "a/b/blue/2.png": b"1"},
            "a/1.png lies beside folders of images, such",
        ),
        (
            {"1.png": b"1", "1.cls": b"1000000000000"},
            r"1\.cls: holds b'1000000000000', needed is a class index from 0 to",
        ),
        ({"red/1.txt": b"hello"}, "no image in it"),
    ],
)
def test_a_tar_file_without_classes_or_images_is_refused_in_words(
    tmp_path: Path, files: dict[str, bytes], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        load_images(pack(tmp_path / "all.tar", files))


@pytest.mark.parametrize("content", [b"", b"no tar file", b"\x1f\x8b compressed"])
def test_what_is_no_tar_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "all.tar").write_bytes(content)
    with pytest.raises(ValueError, match=r"all\.tar: cannot be listed .* not compressed"):
        load_images(tmp_path / "all.tar")


def test_hidden_members_are_no_images(tmp_path: Path) -> None:
    files = class_folders(COLORS * 2)
    hidden = {re.sub("/", "/._", name): b"\0\5\x16\7" for name in files}
    images = load_images(pack(tmp_path / "all.tar", {**hidden, **files, "._.DS_Store": b"?", "red/.x.png": b"?"}))
    assert len(images) + len(load_images(tmp_path / "all.tar", "test")) == 20 and all_shown(images)


def test_links_in_a_tar_file_are_counted_and_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in")
    os.link(folder / "red" / "0.png", folder / "red" / "9.png")  # which tar stores as a link to the first
    (folder / "red" / "8.png").symlink_to("1.png")
    with pytest.warns(UserWarning, match=r"2 links in tar files .left out., the first: .*all\.tar: red/8\.png"):
        assert len(load_images(write_tar(tmp_path / "all.tar", folder))) == 12


def test_tar_files_in_a_tar_file_are_classes(tmp_path: Path) -> None:
    for color in ("red", "green", "blue"):
        pack(tmp_path / f"{color}.tar", {f"{index}.png": encoded(color) for index in range(5)})
    inner = {f"{color}.tar": (tmp_path / f"{color}.tar").read_bytes() for color in ("red", "green", "blue")}
    images = load_images(pack(tmp_path / "all.tar", inner))
    assert images.classes == ("blue", "green", "red") and len(images) == 12 and all_shown(images)


def test_images_of_tar_files_are_read_in_place_in_any_process(tmp_path: Path) -> None:
    packed = write_tar(tmp_path / "all.tar", write_folder(tmp_path / "in", sizes=((6, 6), (8, 9))))
    images = load_images(packed, memory_limit=0)
    assert isinstance(images.images, EncodedImages)
    images.images.open(0)  # a handle is open before workers fork
    normalization = Normalization((0.0,) * 3, (1 / 255,) * 3, "nothing")
    loader = Loader(images, batch_size=2, normalization=normalization, image_size=6, workers=2)
    for pixels, targets in loader.evaluation_batches():
        shown = pixels.round().int()
        assert all(shows_its_class(image, images.classes[target]) for image, target in zip(shown, targets))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(opened, (pickle.dumps(images.images), 3)) == images.images.open(3).tobytes()


def opened(pickled: bytes, index: int) -> bytes:
    images: EncodedImages = pickle.loads(pickled)
    return images.open(index).tobytes()


def test_more_tar_files_than_may_be_open_are_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for shard in range(6):
        pack(tmp_path / f"part-{shard}.tar", class_folders(COLORS, start=10 * shard))
    monkeypatch.setattr("nasvit.data.stores._MOST_OPEN_FILES", 2)
    images = load_images(tmp_path / "part-{0..5}.tar")
    assert len(images) == 48 and all_shown(images)


@given(st.lists(st.text(alphabet="aB/-_. 0129", min_size=1, max_size=8), max_size=12))
def test_members_come_in_natural_order(names: list[str]) -> None:
    assert sorted(names, key=_natural) == sorted(names, key=natural_key)
    keys = np.array([_natural(name) for name in names], dtype="S400")
    assert [names[each] for each in np.argsort(keys, kind="stable")] == sorted(names, key=natural_key)


def test_images_of_a_tar_file_come_in_the_order_of_timms_reader(tmp_path: Path) -> None:
    names = [
        f"{folder}/{stem}.png" for folder in ("b10", "B9", "a b", "zeta/x") for stem in ("im2", "im10", "Im1", "x-1")
    ]
    mixed = [names[each] for each in np.random.default_rng(0).permutation(len(names))]
    packed = pack(tmp_path / "all.tar", {name: encoded("red") for name in mixed})
    listed, reader = list_tars([packed]), ReaderImageInTar(str(packed))
    expected = [f"{packed}: {info.path}" for info, *_ in reader.samples]
    assert [listed.store.name(index) for index in range(len(names))] == expected
    known = {index: name for name, index in reader.class_name_to_idx.items()}
    assert [listed.classes[target] for target in listed.targets] == [known[target] for target in reader.targets]


def test_a_tar_file_cut_off_names_the_image_that_is_missing(tmp_path: Path) -> None:
    whole = pack(tmp_path / "whole.tar", class_folders(COLORS)).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: 512 * 19 + 40])
    with pytest.raises(ValueError, match="cut.tar"):
        load_images(tmp_path / "cut.tar")


def test_targets_are_those_of_the_folder_that_was_packed(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in")
    assert torch.equal(load_images(write_tar(tmp_path / "all.tar", folder)).targets, load_images(folder).targets)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("part-{3..0}.tar", r"the range \{3\.\.0\} is empty; ranges are written as in shard-\{000\.\.127\}\.tar"),
        ("part-{0-3}.tar", r"no such file '.*part-\{0-3\}\.tar'; ranges are written as in"),
        ("part-{0...3}.tar", r"no such file '.*part-\{0\.\.\.3\}\.tar'; ranges are written as in"),
        ("part-{0..3}.tar", r"no such file '.*part-0\.tar'$"),
        ("part-0.tar.gz", "of tar files that are not compressed"),
    ],
)
def test_a_range_that_names_no_files_is_refused_in_words(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_images(tmp_path / name)


def test_of_files_of_one_name_in_a_tar_file_the_last_counts(tmp_path: Path) -> None:
    files = class_folders(COLORS)
    pack(tmp_path / "all.tar", {name: b"older" for name in list(files)[:2]})
    with tarfile.open(tmp_path / "all.tar", "a") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    with pytest.warns(
        UserWarning, match="2 files that come again later in a tar file .left out., the first: .*all.tar: "
    ):
        images = list_tars([tmp_path / "all.tar"])
    assert len(images.store) == 10 and all(images.store.read(each) != b"older" for each in range(10))


def test_a_tar_file_cut_off_between_two_members_is_refused(tmp_path: Path) -> None:
    whole = pack(tmp_path / "all.tar", class_folders(COLORS)).read_bytes()
    for left in (8 * 1024, 8 * 1024 + 100):  # every member here takes two blocks
        (tmp_path / "all.tar").write_bytes(whole[:left])
        with pytest.raises(ValueError, match=r"all\.tar: cannot be listed .it has no mark of its end.*pack it again"):
            load_images(tmp_path / "all.tar")
