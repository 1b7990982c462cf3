"""Folders as people have them: what is a split, a class, an image, and what is said of all else."""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from nasvit.data import ImageSet, load_images
from nasvit.data.pictures import picture_files
from nasvit.data.roles import role_of
from nasvit.data.walking import images_below
from tests.nasvit.data.annotated_folders import annotation, voc_object, write_coco, write_masks, write_voc
from tests.nasvit.data.test_sources import encoded, write_folder, write_tar
from tests.nasvit.data.test_tars import class_folders, pack, samples


def both(source: Path | str, **options: str) -> tuple[ImageSet, ImageSet]:
    return load_images(source, **options), load_images(source, "test", **options)  # type: ignore[arg-type]


NAMES = {
    "train": (
        "train",
        "Train",
        "TRAIN",
        "training",
        "seg_train",
        "train2017",
        "TrainSet",
        "my-train-images",
        "traindata",
    ),
    "test": ("test", "Testing", "seg_test", "test_set", "TestImages", "tst"),
    "val": ("val", "Valid", "validation", "dev", "my_val", "ValData", "eval"),
    None: ("trainval", "trains", "rest", "valley", "device", "cats", "contest", "train_test", "stval", "images"),
}


def test_splits_are_known_in_any_case_and_with_other_words_beside() -> None:
    assert {name: role_of(name) for names in NAMES.values() for name in names} == {
        name: role for role, names in NAMES.items() for name in names
    }


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Train/images", "Test/images"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("Training", "dev"),
        ("TrainSet", "my_validation"),
    ],
)
@pytest.mark.parametrize("tarred", [False, True])
def test_folders_and_tar_files_that_are_called_so_are_splits(
    tmp_path: Path, train: str, test: str, tarred: bool
) -> None:
    for name, count in ((train, 4), (test, 2)):
        folder = write_folder(tmp_path / name, count=count)
        if tarred:
            write_tar(tmp_path / f"{name.partition('/')[0]}.tar", folder)
            shutil.rmtree(tmp_path / name.partition("/")[0])
    (tmp_path / "__MACOSX" / "Train").mkdir(parents=True)
    trained, tested = both(tmp_path)
    assert (len(trained), len(tested)) == (12, 6) and trained.classes == tested.classes == ("blue", "green", "red")


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    for name in ("train", "bus", "test_tube"):
        shutil.copytree(write_folder(tmp_path / "of", count=5) / "red", tmp_path / "all" / name)
        shutil.rmtree(tmp_path / "of")
    assert load_images(tmp_path / "all").classes == ("bus", "test_tube", "train")


def test_of_several_tests_the_first_with_classes_is_taken_and_the_plain_name_goes_before_others(tmp_path: Path) -> None:
    for name, count in (("train", 3), ("train_small", 1), ("val", 2)):
        write_folder(tmp_path / name, count=count)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "1.png").write_bytes(encoded("red"))
    assert [len(each) for each in both(tmp_path)] == [9, 6]


def nested(folder: Path) -> None:
    for part in ("train", "val"):
        write_folder(folder / "dataset" / "v1" / part)


def class_first(folder: Path) -> None:
    for color in ("red", "green"):
        for part in ("train", "val"):
            shutil.copytree(write_folder(folder.with_name("of")) / color, folder / color / part)
            shutil.rmtree(folder.with_name("of"))


def beside_others(folder: Path) -> None:
    nested(folder)
    shutil.copytree(folder / "dataset" / "v1" / "val" / "red", folder / "docs")


def one_class(folder: Path) -> None:
    shutil.copytree(write_folder(folder.with_name("of")) / "red", folder / "red")
    (folder / "blue").mkdir()


def unlabeled(folder: Path) -> None:
    for part in ("train_images", "test_images"):
        (folder / part).mkdir(parents=True)
        (folder / part / "1.png").write_bytes(encoded("red"))


def no_train(folder: Path) -> None:
    for part in ("test", "valid"):
        write_folder(folder / part)


def two_trains(folder: Path) -> None:
    for part in ("train_a", "train_b", "test"):
        write_folder(folder / part)


def alike(folder: Path) -> None:
    for form in ("NFC", "NFD"):
        shutil.copytree(write_folder(folder.with_name("of")) / "red", folder / unicodedata.normalize(form, "café"))
        shutil.rmtree(folder.with_name("of"))


def in_one_tar(folder: Path) -> None:
    files = {
        f"data/{part}/{name}": content
        for part in ("train", "val")
        for name, content in class_folders(["red", "blue"]).items()
    }
    pack(folder, files)


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "nested": (nested, r"deeper, train, val; give .*all/dataset/v1$"),
    "nested beside others": (beside_others, r"all: its classes or parts seem to lie deeper"),
    "parts in classes": (class_first, "each of green, red has parts for training and testing in it; .* as in train/"),
    "one class": (one_class, "all its images are of one class, red, and none are in blue; at least two"),
    "no labels": (unlabeled, "train_images: there is no class folder with images in it; legal are"),
    "no train": (no_train, "there is test and valid, but no part for training"),
    "two trains": (two_trains, "train_a and train_b could each be its train part; call the right one train"),
    "names that look the same": (alike, "the names of 2 class folders look the same, caf.*: letters are composed in"),
    "both parts in a tar": (in_one_tar, r"all\.tar: holds images for training and for testing"),
}


@pytest.mark.parametrize(("make", "words"), REFUSED.values(), ids=REFUSED)
def test_a_folder_that_means_something_else_is_refused_with_the_way_out(
    make: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    source = tmp_path / ("all.tar" if make is in_one_tar else "all")
    make(source)
    with pytest.raises(ValueError, match=words):
        load_images(source)


def test_classes_that_all_have_the_same_folders_in_them_are_remarked(tmp_path: Path) -> None:
    for place in ("2020", "2021"):
        write_folder(tmp_path / "all" / place)
    with pytest.warns(
        UserWarning, match="all have blue, green, red in them .taken for the classes., the first: 2020, 2021"
    ):
        assert load_images(tmp_path / "all").classes == ("2020", "2021")


def test_images_are_known_by_their_content_and_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "all", count=8)
    for index, name in enumerate(("0.jfif", "1", "2.JPE", "3.image", "4.gif", "5.png_large")):
        (folder / "red" / f"{index}.png").rename(folder / "red" / name)
    for name in ("red/notes.txt", "red/old.image", "loose.png", "red/.DS_Store", "red/Thumbs.db", "red/@eaDir/0.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no image")
    (folder / "__MACOSX" / "red").mkdir(parents=True)
    (folder / "__MACOSX" / "red" / "._0.png").write_bytes(b"?")
    packed = write_tar(tmp_path / "all.tar", folder)
    words = r"2 files that are no images .left out., the first: .*red/notes.txt"
    with pytest.warns(
        UserWarning, match=f"{words}; 1 images beside the class folders .left out., the first: .*loose.png"
    ):
        images = both(folder)
    assert [len(each) for each in images] == [19, 5] and images[0].classes == ("blue", "green", "red")
    (folder / "loose.png").unlink()
    with pytest.warns(UserWarning, match=words):
        assert [len(each) for each in both(write_tar(packed, folder))] == [19, 5]
    assert len(picture_files([folder])) == 24


def test_what_is_hidden_anywhere_is_no_image_in_any_source(tmp_path: Path) -> None:
    boxes = write_coco(tmp_path / "boxes", [annotation(1, 1, (0, 0, 5, 5))], images=5)
    masks = write_masks(tmp_path / "masks", dict.fromkeys("abcde", [[0, 1]]))
    for folder in (boxes / "train", masks / "images" / "train", masks / "masks" / "train"):
        for name in ("._1.png", "@eaDir/1.png", ".hidden/1.png"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"?")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_images(f"coco:{boxes}", task="detection")) == 4
        assert len(load_images(f"masks:{masks}", task="segmentation")) == 4


def test_links_are_followed_but_for_those_that_lead_back(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "all")
    pool = write_folder(tmp_path / "pool")
    (folder / "red" / "more").symlink_to(pool / "red", target_is_directory=True)
    (pool / "red" / "back").symlink_to(folder / "red", target_is_directory=True)
    (folder / "green" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "everything").symlink_to(tmp_path, target_is_directory=True)
    (folder / "gone").symlink_to(tmp_path / "nowhere", target_is_directory=True)
    for name in ("itself", "green/itself"):
        (folder / name).symlink_to(folder / name)
    words = (
        "3 links to a folder around them .left out.",
        "2 links that lead nowhere .left out.*gone",
        "1 files that are no",
    )
    with pytest.warns(UserWarning, match="left out") as warned:
        images = both(folder)
    assert all(re.search(each, str(warned[0].message)) for each in words)
    assert images[0].classes == ("blue", "green", "red") and sum(map(len, images)) == 20


def test_deep_trees_and_names_of_any_bytes_are_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "all", sizes=((6, 6), (7, 7)))
    deep = folder / "red" / "/".join(["d"] * 300)
    deep.mkdir(parents=True)
    (deep / "deep.png").write_bytes(encoded("red"))
    odd = os.fsdecode(b"caf\xe9")
    (folder / "green").rename(folder / odd)
    (folder / odd / "0.png").rename(folder / odd / f"{odd}.png")
    images = both(folder)
    assert sum(map(len, images)) == 16 and images[0].classes == ("blue", odd, "red")
    assert f"{odd}/{odd}.png" in [*images_below(folder)]
    assert images[0].identity is not None and images[0].identity.images[odd][0] == 5


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, scan = write_folder(tmp_path / "all"), os.scandir

    def refused(path: str) -> object:
        if str(path).endswith("green"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(ValueError, match=r"all/green: cannot be listed \(Permission denied\)"):
        load_images(folder)


def parts(folder: Path, tarred: bool, *, gone: str = "", added: str = "") -> Path:
    """Write a folder with parts, of whose test part one class is gone and one is added."""
    write_folder(folder / "train")
    write_folder(folder / "val", count=2)
    if gone:
        shutil.rmtree(folder / "val" / gone)
    if added:
        shutil.copytree(folder / "train" / "red", folder / "val" / added)
    for part in ("train", "val") if tarred else ():
        write_tar(folder / f"{part}.tar", folder / part)
        shutil.rmtree(folder / part)
    return folder


@pytest.mark.parametrize("tarred", [False, True])
def test_classes_that_only_one_part_has_are_named_and_can_be_done_without(tmp_path: Path, tarred: bool) -> None:
    folder = parts(tmp_path / "all", tarred, gone="green", added="ärger")
    words = r"val.* beside .*train.*: has no image of green, and has images of ärger, .*data: \{classes: from train\}"
    with pytest.raises(ValueError, match=words):
        load_images(folder, "test")
    told = "1 classes without an image to test on, the first: green; 1 classes that the training images do not have"
    with pytest.warns(UserWarning, match=told):
        train, tested = both(folder, classes="from train")
    assert train.classes == tested.classes == ("blue", "green", "red")
    assert tested.targets.tolist() == [0, 0, 2, 2]
    assert int(tested.pixels[3, 0, 3, 3]) == 255  # red


def test_an_empty_class_is_named_and_can_be_done_without(tmp_path: Path) -> None:
    folder = parts(tmp_path / "all", False, gone="green")
    (folder / "val" / "green").mkdir()
    with pytest.raises(ValueError, match="has no image of green; make"):
        load_images(folder, "test")
    for image in (folder / "train" / "green").iterdir():
        image.unlink()
    with pytest.raises(ValueError, match=r"no image for the classes green; add some, remove .*classes: from train"):
        load_images(folder)
    with pytest.warns(UserWarning, match="1 class folders without images .left out., the first: green"):
        train, tested = both(folder, classes="from train")
    assert train.classes == tested.classes == ("blue", "red")


@pytest.mark.parametrize("tarred", [False, True])
def test_a_class_is_the_same_in_another_case_or_composed_otherwise(tmp_path: Path, tarred: bool) -> None:
    for part, red, green in (("train", "Red", "caf\u00e9"), ("val", "red", "cafe\u0301")):
        write_folder(tmp_path / part)
        (tmp_path / part / "red").rename(tmp_path / part / "r")
        (tmp_path / part / "r").rename(tmp_path / part / red)
        (tmp_path / part / "green").rename(tmp_path / part / green)
        if tarred:
            write_tar(tmp_path / f"{part}.tar", tmp_path / part)
            shutil.rmtree(tmp_path / part)
    with pytest.warns(UserWarning, match="1 classes whose names differ in case alone .* the first: red and Red"):
        train, tested = both(tmp_path)
    assert train.classes == tested.classes == ("Red", "blue", "café")
    assert [tuple(tested.pixels[index, :, 3, 3].tolist()) for index in (0, -1)] == [(0, 0, 255), (255, 0, 0)]
    assert tested.targets[[0, -1]].tolist() == [1, 0]


def test_boxes_of_other_classes_are_named_and_can_be_done_without(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco", [annotation(1, 1, (0, 0, 5, 5))])
    other = [{"id": 7, "name": "cat"}, {"id": 9, "name": "bird"}]
    boxes = [annotation(1, 1, (0, 0, 5, 5)), annotation(2, 1, (1, 1, 5, 5), 9)]
    write_coco(tmp_path / "coco", boxes, part="val", categories=other)
    objects = voc_object("cat", (1, 1, 5, 5))
    voc = write_voc(
        tmp_path / "voc", {"train": {"a": objects}, "val": {"b": objects + voc_object("bird", (2, 2, 6, 6))}}
    )
    for source in (f"coco:{coco}", f"voc:{voc}"):
        with pytest.raises(ValueError, match="bird.* is not one of the training part's.*classes: from train"):
            load_images(source, "test", task="detection")
        with pytest.warns(UserWarning, match="1 boxes of classes that the training part does not have .left out."):
            tested = load_images(source, "test", task="detection", classes="from train")
        assert tested.targets.labels.tolist() == [0]


def test_parts_of_boxes_and_masks_may_be_called_otherwise(tmp_path: Path) -> None:
    masks = write_masks(tmp_path / "of", dict.fromkeys("abc", [[0, 1]]), part="Train")
    write_masks(masks, {"d": [[0, 1]]}, part="my_val")
    (masks / "images").rename(masks / "Images")
    (masks / "masks" / "my_val").rename(masks / "masks" / "Validation")
    assert [len(load_images(masks, split, task="segmentation")) for split in ("train", "test")] == [3, 1]  # type: ignore[arg-type]
    boxes = write_coco(tmp_path / "boxes", [annotation(1, 1, (0, 0, 5, 5))])
    write_coco(boxes, [annotation(1, 1, (0, 0, 5, 5))], part="val")
    (boxes / "train").rename(boxes / "Training")
    assert len(load_images(f"coco:{boxes}", task="detection")) == 2


def test_a_single_class_is_refused_in_every_source(tmp_path: Path) -> None:
    pack(tmp_path / "all.tar", {f"red/{index}.png": encoded("red") for index in range(5)})
    pack(tmp_path / "labeled.tar", samples(["red"] * 5))
    for name, label in (("all.tar", "red"), ("labeled.tar", "0")):
        with pytest.raises(ValueError, match=f"{name}: all its images are of one class, {label}; at least two"):
            load_images(tmp_path / name)


def test_classes_of_a_single_image_are_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "all", count=5)
    for color in ("red", "blue"):
        for index in range(1, 5):
            (folder / color / f"{index}.png").unlink()
    with pytest.raises(
        ValueError, match="all: one image only of the classes blue, red: .* add images, or leave them out"
    ):
        load_images(folder)


def test_images_that_no_part_has_are_told(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("test", 1), ("val", 2)):
        write_folder(tmp_path / "all" / part, count=count)
    (tmp_path / "all" / "1.png").write_bytes(encoded("red"))
    words = (
        r"1 images beside .*left out., the first: .*all/1\.png; 1 parts beside test .left out., the first: .*all/val$"
    )
    with pytest.warns(UserWarning, match=words) as told:
        assert [len(each) for each in both(tmp_path / "all")] == [9, 3]
    assert len(told) == 1
