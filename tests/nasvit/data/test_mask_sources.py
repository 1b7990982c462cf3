"""Images with masks: values and colors, tables of classes, and what is wrong with masks."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nasvit.data import BadImageError, ImageSet, Loader, Normalization, hold_out, load_images
from nasvit.data.targets import IGNORED, Masks
from tests.nasvit.data.annotated_folders import picture, write_masks
from tests.shared import SHARED, needs_shared

VALUES = [[0, 1, 2], [2, 255, 0]]
ROAD, TREE, VOID = (128, 64, 128), (0, 128, 0), (0, 0, 0)
TABLE = "128 64 128\tRoad\n0 0 0 Void\n0 128 0 Tall tree\n"


def folder_of(folder: Path, masks: dict[str, Any]) -> Path:
    """Write training images, and one to test on."""
    write_masks(folder, {"only": next(iter(masks.values()))}, "test")
    return write_masks(folder, masks)


def load(folder: Path, split: Any = "train", **options: Any) -> ImageSet:
    return load_images(folder, split, task="segmentation", **options)


AS_THEY_ARE = Normalization((0.5,) * 3, (0.2,) * 3, "none")


def masks(images: ImageSet, size: int | None = None) -> list[Any]:
    loader = Loader(images, batch_size=1, normalization=AS_THEY_ARE, image_size=size)
    return [targets[0].tolist() for _, targets in loader.evaluation_batches()]


def test_masks_of_values_have_the_classes_that_occur_and_ignore_255(tmp_path: Path) -> None:
    images = load(folder_of(tmp_path, {"a": VALUES, "b": np.zeros((2, 3))}))
    assert images.classes == ("0", "1", "2") and masks(images) == [VALUES, [[0] * 3] * 2]
    assert isinstance(images.targets, Masks) and isinstance(images.targets.stored, torch.Tensor)
    assert load_images(f"masks:{tmp_path}", task="segmentation").fingerprint == images.fingerprint


def test_an_ignored_value_is_no_class_and_those_behind_it_move_up(tmp_path: Path) -> None:
    images = load(folder_of(tmp_path, {"a": VALUES}), ignore_index=1)
    assert images.classes == ("0", "2") and masks(images) == [[[0, IGNORED, 1], [1, IGNORED, 0]]]
    last = load(tmp_path, ignore_index=2)
    assert last.classes == ("0", "1") and masks(last) == [[[0, 1, IGNORED], [IGNORED, IGNORED, 0]]]


def test_a_table_names_the_values_and_what_is_to_be_ignored(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a": VALUES})
    (tmp_path / "classes.txt").write_text("sky\nUnlabelled\n\nbig road\nnever seen\n")
    images = load(tmp_path)
    assert images.classes == ("sky", "big road", "never seen")
    assert masks(images) == [[[0, IGNORED, 1], [1, IGNORED, 0]]]


@pytest.mark.parametrize("name", ["classes.txt", "label_colors.txt", "masks/classes.txt"])
def test_masks_of_colors_are_read_by_a_table(tmp_path: Path, name: str) -> None:
    folder_of(tmp_path, {"a": [[ROAD, TREE], [VOID, ROAD]]})
    (tmp_path / name).write_text(TABLE)
    images = load(tmp_path)
    assert images.classes == ("Road", "Tall tree") and masks(images) == [[[0, 1], [IGNORED, 0]]]
    assert load(tmp_path, ignore_index=2).classes == ("Road",)


def test_masks_with_a_palette_or_with_opacity_hold_values(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a": VALUES, "b": VALUES})
    mask = Image.fromarray(np.array(VALUES, dtype=np.uint8))
    palette = mask.copy()
    palette.putpalette([*ROAD, *TREE, *VOID] + [7] * 759)
    palette.save(tmp_path / "masks" / "train" / "a.png")
    mask.convert("LA").save(tmp_path / "masks" / "train" / "b.png")
    assert masks(load(tmp_path)) == [VALUES, VALUES]
    Image.fromarray(np.array([[True, False, True]] * 2)).save(tmp_path / "masks" / "train" / "b.png")
    assert masks(load(tmp_path))[1] == [[1, 0, 1]] * 2


REFUSED = {
    "color": ([[(1, 2, 3), TREE]], TABLE, "train/a.png: pixel x=0, y=0 has the color 1 2 3, which .*classes.txt does"),
    "no table": ([[ROAD, TREE]], "", "a.png: is a mask of colors, but no table"),
    "names only": ([[ROAD, TREE]], "a\nb\n", "a.png: is a mask of colors, but no table"),
    "value": ([[0, 5]], "a\nb\n", "a.png: pixel x=1, y=0 has the value 5, which .*classes.txt does not have"),
    "some colors": ([[0]], "1 2 3 a\nb\n", "classes.txt, line 2: has no color"),
    "one color": ([[0]], "1 2 3 a\n1 2 3 b\n", "two classes have the color 1 2 3"),
    "nothing": ([[0]], "void\n", "has 0 classes"),
}


@pytest.mark.parametrize(("mask", "table", "message"), REFUSED.values(), ids=REFUSED)
def test_masks_and_tables_that_mean_nothing_are_refused_by_name_and_place(
    tmp_path: Path, mask: Any, table: str, message: str
) -> None:
    folder_of(tmp_path, {"a": mask})
    if table:
        (tmp_path / "classes.txt").write_text(table)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)
    with pytest.raises(ValueError, match=message):
        masks(load(tmp_path, keep_encoded=True), 4)


def test_a_value_of_16_bits_that_no_table_has_is_refused(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a": VALUES})
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    Image.fromarray(np.array([[0, 300, 1]] * 2, dtype=np.uint16)).save(tmp_path / "masks" / "train" / "a.png")
    with pytest.raises(ValueError, match="value 300"):
        load(tmp_path)


@pytest.mark.parametrize("encoded", [False, True])
def test_masks_that_miss_or_have_another_size_make_bad_images(tmp_path: Path, encoded: bool) -> None:
    folder_of(tmp_path, {name: VALUES for name in "abcd"})
    (tmp_path / "masks" / "train" / "a.png").unlink()
    picture(tmp_path / "images" / "train" / "b.jpg", (6, 4))
    (tmp_path / "masks" / "train" / "c.png").write_bytes(b"no image")
    with pytest.raises(BadImageError, match="a.jpg: its mask masks/train/a.png: No such file"):
        load(tmp_path, keep_encoded=encoded)
    with pytest.warns(UserWarning, match="3 bad images left out.*b.jpg: it has 6x4 pixels, what is annotated has 3x2"):
        images = load(tmp_path, keep_encoded=encoded, on_bad_image="skip")
    assert len(images) == 1


def test_a_mask_that_breaks_off_is_bad_where_it_is_decoded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder_of(tmp_path, {"a": rng.integers(3, size=(40, 40)), "b": rng.integers(3, size=(40, 40))})
    whole = (tmp_path / "masks" / "train" / "a.png").read_bytes()
    (tmp_path / "masks" / "train" / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadImageError, match="a.jpg: its mask .*a.png: "):
        load(tmp_path)
    for encoded in (False, True):
        with pytest.warns(UserWarning, match="1 bad image left out.*a.jpg: its mask .*a.png: "):
            assert len(load(tmp_path, on_bad_image="skip", keep_encoded=encoded)) == 1
    with pytest.raises(BadImageError, match="masks/train/a.png: "):
        masks(load(tmp_path, keep_encoded=True), 40)


def test_the_pixels_of_every_class_are_counted(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a": VALUES, "b": np.ones((2, 3))})
    for options in ({}, {"keep_encoded": True}):
        images = load(tmp_path, **options)
        assert images.targets.pixels(3).tolist() == [2, 7, 2]


def test_masks_without_an_image_are_left_out_with_a_warning(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a": VALUES, "b": VALUES, "c": VALUES})
    for name in "bc":
        (tmp_path / "images" / "train" / f"{name}.jpg").unlink()
    with pytest.warns(UserWarning, match=r"2 masks without an image \(left out\), the first: masks/train/b.png"):
        assert len(load(tmp_path)) == 1


def test_folders_without_images_or_masks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is none for segmentation"):
        load(tmp_path)
    with pytest.raises(ValueError, match="no images/train"):
        load_images(f"masks:{tmp_path}", task="segmentation")
    (tmp_path / "images" / "train").mkdir(parents=True)
    (tmp_path / "masks" / "train").mkdir(parents=True)
    with pytest.raises(ValueError, match="no images in images/train"):
        load(tmp_path)


def test_val_validates_where_there_is_a_test_part(tmp_path: Path) -> None:
    write_masks(folder_of(tmp_path, {"a": VALUES, "b": VALUES}), {"c": np.ones((2, 3))}, "val")
    images = load(tmp_path)
    data = hold_out(images)
    assert len(images) == 3 and masks(data.validation) == [[[1] * 3] * 2] and data.record.held_out_per_class == ()
    assert len(hold_out(images, fraction=0.5, seed=3).validation) == 2


def test_masks_of_chosen_images_go_with_them_held_or_encoded(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a": VALUES, "b": np.ones((2, 3)), "c": np.zeros((2, 3))})
    chosen = np.array([2, 0])
    for options in ({}, {"keep_encoded": True}, {"memory_limit": 3 * 2 * 3 * 4 - 1}):
        images = load(tmp_path, **options)
        part = images.subset(chosen)
        loader = Loader(part, batch_size=2, normalization=AS_THEY_ARE, image_size=(2, 3))
        assert isinstance(images.images, torch.Tensor) == (not options)
        assert next(loader.evaluation_batches())[1].tolist() == [[[0] * 3] * 2, VALUES]
        assert part.fingerprint != images.fingerprint


@needs_shared
def test_real_masks_are_read_as_they_are() -> None:
    folder = SHARED / "data" / "camvid11"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = load(folder, ignore_index=11, keep_encoded=True)
    assert len(images) == 468 and images.classes == tuple(map(str, range(11)))
    assert images.validation is not None and len(images.validation) == 101
    with Image.open(folder / "masks" / "train" / "0001TP_006690.png") as mask:
        expected = np.asarray(mask)
    assert (np.where(expected == 11, IGNORED, expected) == images.targets.stored.open(0)).all()
