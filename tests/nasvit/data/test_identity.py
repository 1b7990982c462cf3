"""What the images of a source are is told in little, and what changed of them is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nasvit.data import load_images
from nasvit.data.annotated import TaskName
from nasvit.data.identity import LEAST_SAMPLED, MOST_SAMPLED, SAMPLED_BYTES, Told, differences, sampled
from tests.nasvit.data.annotated_folders import annotation, write_coco, write_masks
from tests.nasvit.data.test_sources import write_tar


def told(source: str | Path, task: TaskName = "classification") -> Told:
    identity = load_images(source, task=task).identity
    assert identity is not None
    return identity.told()


def fruits(folder: Path) -> Path:
    """Write classes whose files have equal names, and within a class equal sizes: bitmaps."""
    for number, (name, side) in enumerate((("apple", 4), ("pear", 5), ("plum", 6))):
        (folder / name).mkdir(parents=True)
        for index in range(5):
            Image.new("RGB", (side, 8), (40 * index, 80 * number, 9)).save(folder / name / f"{index}.bmp")
    return folder


def rename(folder: Path) -> None:
    (folder / "apple").rename(folder / "red_apple")


def swap(folder: Path) -> None:
    for old, new in (("pear", "other"), ("plum", "pear"), ("other", "plum")):
        (folder / old).rename(folder / new)


def repaint(folder: Path) -> None:
    Image.new("RGB", (5, 8), (1, 2, 3)).save(folder / "pear" / "2.bmp")


def remove(folder: Path) -> None:
    (folder / "plum" / "0.bmp").unlink()


def resize(folder: Path) -> None:
    Image.new("RGB", (9, 9)).save(folder / "plum" / "4.bmp")


def rename_file(folder: Path) -> None:
    (folder / "plum" / "4.bmp").rename(folder / "plum" / "5.bmp")


def add_class(folder: Path) -> None:
    shutil.copytree(folder / "pear", folder / "cherry")


CHANGES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "a renamed class": (rename, ["class 'apple' is called 'red_apple' now"]),
    "swapped classes": (
        swap,
        ["class 'pear' has the images that class 'plum' had", "class 'plum' has the images that class 'pear' had"],
    ),
    "a repainted image": (repaint, ["1 of 15 files looked at have another content, or none: pear/2.bmp"]),
    "a removed image": (remove, ["class 'plum' has 4 images, before 5"]),
    "an image of another size": (resize, ["class 'plum' has images of other names or sizes"]),
    "a renamed image": (rename_file, ["class 'plum' has images of other names or sizes"]),
    "an added class": (add_class, ["class 'cherry' is new"]),
}


@pytest.mark.parametrize("tarred", [False, True], ids=["folder", "tar"])
@pytest.mark.parametrize(("change", "words"), CHANGES.values(), ids=CHANGES)
def test_what_changed_is_named(change: Callable[[Path], None], words: list[str], tarred: bool, tmp_path: Path) -> None:
    folder = fruits(tmp_path / "all")
    before = told(write_tar(tmp_path / "all.tar", folder) if tarred else folder)
    change(folder)
    assert differences(before, told(write_tar(tmp_path / "all.tar", folder) if tarred else folder)) == words


def test_a_source_that_was_moved_packed_or_got_what_is_no_image_is_the_same(tmp_path: Path) -> None:
    folder = fruits(tmp_path / "all")
    before = told(folder)
    (folder / "apple" / ".DS_Store").write_bytes(b"?")
    moved = folder.rename(tmp_path / "moved")
    assert differences(before, told(moved)) == []
    assert differences(before, told(write_tar(tmp_path / "all.tar", moved))) == []


def test_other_boxes_and_other_masks_are_named(tmp_path: Path) -> None:
    def both(edge: int, value: int) -> tuple[Told, Told]:
        boxes = write_coco(tmp_path / "boxes", [annotation(1, 1, (0, 0, edge, 5))], images=5)
        masks = write_masks(tmp_path / "masks", {"a": [[value, 0]], **dict.fromkeys("bcde", [[1, 0]])})
        return told(f"coco:{boxes}", "detection"), told(f"masks:{masks}", "segmentation")

    before, same, now = both(5, 0), both(5, 0), both(6, 1)
    assert [differences(*each) for each in zip(before, same)] == [[], []]
    assert [differences(*each) for each in zip(before, now)] == [
        ["its boxes or masks changed"],
        ["1 of 5 files looked at have another content, or none: images/train/a.jpg"],
    ]


def test_images_that_are_no_files_are_known_too() -> None:
    assert differences(told("digits"), told("digits")) == []
    digits = load_images("digits").identity
    assert digits is not None and digits.images["3"][0] == 183 and len(digits.names) == 256


def test_what_is_read_of_a_source_has_a_bound_that_does_not_grow_with_it() -> None:
    for count in (10, 10**4, 10**6):
        for length in (500, 10**5, 10**8):
            places = sampled(np.full(count, length))
            assert len(set(places)) == len(places) <= MOST_SAMPLED and 0 <= min(places) <= max(places) < count
            assert len(places) <= max(LEAST_SAMPLED, SAMPLED_BYTES // length)
            assert len(places) >= min(count, LEAST_SAMPLED)
    assert sampled(np.full(3, 1)) == [0, 1, 2]
