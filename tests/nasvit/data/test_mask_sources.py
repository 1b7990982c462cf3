"""Images with masks: values and colors, tables of classes, and what is wrong with masks."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nasvit.data import BadImageError, ImageSet, Loader, Normalization, hold_out, load_images, mask_values
from nasvit.data.mask_pixels import pixels_of_classes
from nasvit.data.targets import IGNORED, Masks
from nasvit.files.records import read_json
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


def masks(images: ImageSet, size: Any = None) -> list[Any]:
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


BLACK, WHITE = (0, 0, 0), (255, 255, 255)
BINARY = [[0, 255, 0], [255, 255, 0]]
OBJECTS = "0 0 0 background\n255 255 255 object\n"


def stored_as(mode: str) -> Image.Image:
    """Return the binary mask in one of the modes that drawing programs store it in."""
    gray = Image.fromarray(np.array(BINARY, dtype=np.uint8))
    if mode == "I;16":
        return Image.fromarray(np.array(BINARY, dtype=np.uint16))
    return gray.convert(mode)


def saved(folder: Path, image: Image.Image, name: str = "a") -> None:
    image.save(folder / "masks" / "train" / f"{name}.png")


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "RGB", "RGBA", "I;16"])
def test_with_a_table_of_colors_gray_values_are_colors_and_white_is_not_ignored(tmp_path: Path, mode: str) -> None:
    folder_of(tmp_path, {"a": BINARY})
    (tmp_path / "classes.txt").write_text(OBJECTS)
    saved(tmp_path, stored_as(mode))
    with Image.open(tmp_path / "masks" / "train" / "a.png") as kept:
        assert kept.mode == mode
    for encoded in (False, True):
        images = load(tmp_path, keep_encoded=encoded)
        assert images.classes == ("background", "object")
        assert masks(images, (2, 3) if encoded else None) == [[[0, 1, 0], [1, 1, 0]]]


def test_with_a_table_of_colors_a_palette_is_looked_up_by_its_colors_in_any_order(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a": VALUES})
    (tmp_path / "classes.txt").write_text(TABLE)
    numbers = Image.fromarray(np.array([[0, 1, 2], [2, 1, 0]], dtype=np.uint8))
    for order in ([ROAD, VOID, TREE], [TREE, ROAD, VOID]):
        palette = numbers.copy()
        palette.putpalette([edge for color in order for edge in color])
        saved(tmp_path, palette)
        meant = [{ROAD: 0, TREE: 1, VOID: IGNORED}[color] for color in order]
        assert masks(load(tmp_path)) == [[meant, meant[::-1]]]


def test_a_mask_of_numbers_beside_a_table_of_colors_is_refused_with_the_way_out(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a": [[0, 1]]})
    (tmp_path / "classes.txt").write_text(OBJECTS)
    with pytest.raises(BadImageError, match=r"x=1, y=0 has the color 1 1 1, .* holds? numbers .* have no colors"):
        load(tmp_path)
    saved(tmp_path, Image.fromarray(np.array([[0, 300]], dtype=np.uint16)))
    with pytest.raises(BadImageError, match=r"x=1, y=0 has the value 300, which"):
        load(tmp_path)


def test_a_table_of_colors_may_ignore_a_line_and_has_room_for_254_classes(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a": [[(255, 0, 0), (253, 0, 0), (7, 7, 7), WHITE]]})
    lines = [f"{each} 0 0 class {each}\n" for each in range(254)]
    (tmp_path / "classes.txt").write_text("".join([*lines, "255 0 0 void\n", "7 7 7 void\n", "255 255 255 void\n"]))
    images = load(tmp_path)
    assert len(images.classes) == 254 and masks(images) == [[[IGNORED, 253, IGNORED, IGNORED]]]
    (tmp_path / "classes.txt").write_text("".join([*lines, "255 0 0 one more\n", "7 7 7 void\n"]))
    with pytest.raises(ValueError, match="has 255 classes; legal: 1 to 254"):
        load(tmp_path)


@pytest.mark.parametrize("mask", [BINARY, [[0, 0]], [[0, 7, 255]]])
def test_without_a_table_a_single_class_is_refused_with_the_way_out(tmp_path: Path, mask: Any) -> None:
    folder_of(tmp_path, {"a": mask})
    with pytest.raises(ValueError, match=r"masks/train: .* single class, 0, .* 255 means .* ignored.*255 255 255 obj"):
        load(tmp_path, ignore_index=None if 7 not in mask[0] else 7)
    (tmp_path / "classes.txt").write_text("0 0 0 background\n255 255 255 object\n7 7 7 void\n")
    assert load(tmp_path).classes == ("background", "object")


def test_black_and_white_masks_beside_a_table_without_colors_are_remarked(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a": BINARY, "b": [[0, 0, 255]] * 2})
    (tmp_path / "classes.txt").write_text("background\nobject\n")
    with pytest.warns(
        UserWarning, match="first masks hold the values 0 and 255 only, and 255 is ignored, for .*classes.txt"
    ):
        load(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_masks(tmp_path, {"b": [[0, 1, 255]] * 2})
        load(tmp_path)
        write_masks(tmp_path, {"a": BINARY, "b": BINARY})
        (tmp_path / "classes.txt").write_text(OBJECTS)
        load(tmp_path)


@pytest.mark.parametrize("table", ["a\nb\n", "0 0 0 a\n1 1 1 b\n"])
@pytest.mark.parametrize("wrong", [[[1, 5]], [[(1, 5, 1), (0, 0, 0)]]])
def test_a_mask_that_the_table_does_not_explain_is_a_bad_image(tmp_path: Path, table: str, wrong: Any) -> None:
    folder_of(tmp_path, {"a": [[0, 1]], "b": [[1, 0]]})
    write_masks(tmp_path, {"b": wrong})
    (tmp_path / "classes.txt").write_text(table)
    message = "masks/train/b.png: (pixel x=|is a mask of colors)"
    with pytest.raises(BadImageError, match=message):
        load(tmp_path)
    late = load(tmp_path, keep_encoded=True)
    for workers in (0, 1):
        loader = Loader(late, batch_size=2, normalization=AS_THEY_ARE, image_size=(1, 2), workers=workers)
        with pytest.raises(BadImageError, match=message):
            list(loader.evaluation_batches())
    for encoded in (False, True):
        with pytest.warns(UserWarning, match=f"1 bad image left out.*{message}"):
            assert masks(load(tmp_path, on_bad_image="skip", keep_encoded=encoded), (1, 2)) == [[[0, 1]]]


def test_a_repaired_table_is_asked_again_which_masks_are_bad(tmp_path: Path) -> None:
    folder_of(tmp_path / "set", {"a": [[0, 1]], "b": [[1, 2]]})
    options: dict[str, Any] = {"on_bad_image": "skip", "keep_encoded": True, "record": tmp_path / "bad.json"}
    (tmp_path / "set" / "classes.txt").write_text("a\nb\n")
    with pytest.warns(UserWarning, match="1 bad image left out"):
        assert len(load(tmp_path / "set", **options)) == 1
    (tmp_path / "set" / "classes.txt").write_text("a\nb\nc\n")
    assert len(load(tmp_path / "set", **options)) == 2


def test_without_a_table_one_mask_of_colors_is_a_bad_image(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a": VALUES, "b": VALUES})
    write_masks(tmp_path, {"b": [[ROAD] * 3, [TREE] * 3]})
    with pytest.warns(UserWarning, match="1 bad image left out.*b.png: is a mask of colors"):
        images = load(tmp_path, on_bad_image="skip")
    assert len(images) == 1 and images.classes == ("0", "1", "2")


def test_masks_of_other_folders_are_others_though_names_sizes_and_times_are_equal(tmp_path: Path) -> None:
    for name, highest in (("first", 1), ("second", 2)):
        folder_of(tmp_path / name, {"a": [[0, highest]]})
        os.utime(tmp_path / name / "masks" / "train" / "a.png", ns=(1, 1))
    assert [len(load(tmp_path / name).classes) for name in ("first", "second")] == [2, 3]


@pytest.fixture
def decoded_masks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the masks that were decoded for their values."""
    numbers: list[int] = []
    decode = mask_values.decoded

    def counted(store: Any, number: int) -> Image.Image:
        numbers.append(number)
        return decode(store, number)

    monkeypatch.setattr(mask_values, "decoded", counted)
    return numbers


def test_the_values_of_masks_are_looked_for_once_for_both_splits(tmp_path: Path, decoded_masks: list[int]) -> None:
    folder_of(tmp_path, {"a": VALUES, "b": VALUES})
    for _ in range(2):
        assert [load(tmp_path, split).classes for split in ("train", "test")] == [("0", "1", "2")] * 2
    assert decoded_masks == [0, 1]
    os.utime(tmp_path / "masks" / "train" / "a.png", ns=(1, 1))  # drawn anew
    load(tmp_path)
    assert decoded_masks == [0, 1, 0, 1]


def test_the_values_of_masks_are_remembered_beside_the_bad_images(tmp_path: Path, decoded_masks: list[int]) -> None:
    folder_of(tmp_path / "set", {"a": VALUES, "b": VALUES})
    options: dict[str, Any] = {"on_bad_image": "skip", "record": tmp_path / "out" / "bad_images.json"}
    for split in ("train", "test"):
        assert load(tmp_path / "set", split, **options).classes == ("0", "1", "2")
        mask_values._decoded.cache_clear()  # another process
    assert decoded_masks == [0, 1]
    (written,) = read_json(tmp_path / "out" / "mask_values.json").values()
    assert written["values"] == [0, 1, 2, 255]
    write_masks(tmp_path / "set", {"c": [[3, 0]]})
    assert load(tmp_path / "set", **options).classes == ("0", "1", "2", "3") and len(decoded_masks) == 5


def test_of_many_masks_it_is_said_that_they_are_decoded_and_workers_find_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder_of(tmp_path, {"a": VALUES, "b": [[4, 0]], "c": [[0, 1]]})
    assert load(tmp_path).classes == tuple("01234") and "decoding" not in capfd.readouterr().err
    mask_values._decoded.cache_clear()
    monkeypatch.setattr(mask_values, "_ALONE", 2)
    monkeypatch.setattr(mask_values, "_CHUNK", 2)
    assert load(tmp_path, workers=2).classes == tuple("01234")
    assert "masks/train: no classes.txt: decoding 3 masks once to find their values\n" in capfd.readouterr().err


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


def test_the_pixels_of_every_class_are_counted_and_those_of_the_masks_that_show_it(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a": VALUES, "b": np.ones((2, 3))})
    for options in ({}, {"keep_encoded": True}):
        found = pixels_of_classes(load(tmp_path, **options).targets, 4, "a test")
        assert found.tolist() == [[2, 1 + 6, 2, 0], [5, 5 + 6, 5, 0]]


def test_a_mask_in_a_format_that_changes_values_is_a_bad_image_and_brings_no_classes(tmp_path: Path) -> None:
    folder = write_masks(tmp_path, dict.fromkeys("abcdef", [[0, 1] * 8] * 16))
    mask = folder / "masks" / "train" / "c.png"
    Image.open(mask).point(lambda value: 9 * value).convert("L").save(mask.with_suffix(".jpg"))
    mask.unlink()
    for options in ({}, {"keep_encoded": True, "on_bad_image": "skip"}):
        words = pytest.warns(UserWarning, match="1 bad") if options else pytest.raises(ValueError, match="it is a JPEG")
        with words:
            assert load(folder, **options).classes == ("0", "1")


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
