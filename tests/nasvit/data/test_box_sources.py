"""Images with boxes: COCO, Pascal VOC, YOLO, and what is wrong in such files."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from nasvit.data import BadImageError, EncodedImages, ImageSet, coco_file, hold_out, load_images
from nasvit.data.targets import Boxes
from tests.nasvit.data.annotated_folders import (
    CAT,
    CATEGORIES,
    DOG,
    annotation,
    picture,
    voc_object,
    write_coco,
    write_masks,
    write_voc,
    write_yolo,
)
from tests.shared import SHARED, needs_shared

WHOLE = [annotation(1, 1, (2, 1, 6, 4)), annotation(2, 1, (0, 0, 20, 10), DOG), annotation(3, 2, (1, 2, 3, 4), DOG)]
FOUR = [annotation(number, number, (2, 1, 6, 4)) for number in range(1, 5)]


def load(folder: Path, split: Any = "train", kind: str = "coco", **options: Any) -> ImageSet:
    return load_images(f"{kind}:{folder}", split, task="detection", **options)


def with_test(folder: Path) -> Path:
    """Add a part for testing, so that no other image is held out for it."""
    return write_coco(folder, [annotation(1, 1, (2, 1, 6, 4))], images=1, part="test")


def boxes(images: ImageSet, index: int) -> list[list[float]]:
    found: list[list[float]] = images.targets.of_image(index).boxes.tolist()
    return found


def test_a_coco_folder_gives_corners_labels_in_the_files_order_and_areas(tmp_path: Path) -> None:
    write_coco(with_test(tmp_path), [*WHOLE[:2], annotation(3, 2, (1, 2, 3, 4), DOG, area=7.5)])
    images = load(tmp_path)
    assert images.classes == ("cat", "dog") and len(images) == 2 and isinstance(images.targets, Boxes)
    assert boxes(images, 0) == [[2, 1, 8, 5], [0, 0, 20, 10]] and boxes(images, 1) == [[1, 2, 4, 6]]
    assert images.targets.labels.tolist() == [0, 1, 1]  # ids 7 and 3
    assert images.targets.areas.tolist() == [24, 200, 7.5]
    assert images.targets.sizes.tolist() == [[10, 20], [10, 20]]
    assert images.image_size == (10, 20) and not images.targets.crowd.any()


def test_boxes_of_chosen_images_go_with_them(tmp_path: Path) -> None:
    images = load(write_coco(with_test(tmp_path), WHOLE, images=3))
    chosen = images.subset(torch.tensor([2, 1, 0, 0]).numpy())
    assert [boxes(chosen, place) for place in range(4)] == [boxes(images, place) for place in (2, 1, 0, 0)]
    assert chosen.targets.labels.tolist() == [1, 0, 1, 0, 1]


@pytest.mark.parametrize("names", ["train", "train2017", "images/train", "images", "images/train2017"])
def test_images_are_found_in_the_usual_folders(tmp_path: Path, names: str) -> None:
    write_coco(with_test(tmp_path), WHOLE)
    (tmp_path / "annotations" / "captions_train2017.json").write_text("{}")
    (tmp_path / "annotations" / "instances_train.json").rename(tmp_path / "annotations/instances_train2017.json")
    (tmp_path / names).parent.mkdir(exist_ok=True)
    (tmp_path / "train").rename(tmp_path / names)
    assert load(tmp_path).open(1).size == (20, 10)


def test_annotations_beside_their_images_are_found(tmp_path: Path) -> None:
    write_coco(tmp_path, FOUR, images=4)
    (tmp_path / "annotations" / "instances_train.json").rename(tmp_path / "train" / "_annotations.coco.json")
    assert [len(load(tmp_path, split)) for split in ("train", "test")] == [3, 1]


@pytest.mark.parametrize("names", ["images/default", "default", "images"])
def test_a_single_annotation_file_is_that_of_all_images(tmp_path: Path, names: str) -> None:
    write_coco(tmp_path, FOUR, images=4)
    (tmp_path / "annotations" / "instances_train.json").rename(tmp_path / "annotations" / "instances_default.json")
    (tmp_path / names).parent.mkdir(exist_ok=True)
    (tmp_path / "train").rename(tmp_path / names)
    assert [len(load(tmp_path, split)) for split in ("train", "test")] == [3, 1]


def test_without_a_test_part_a_fifth_is_held_out_at_random(tmp_path: Path) -> None:
    write_coco(tmp_path, [annotation(number, number, (0, 0, number, 2)) for number in range(1, 11)], images=10)
    parts = [load(tmp_path, split) for split in ("train", "test")]
    assert [len(part) for part in parts] == [8, 2] and "2 of 10 images held out" in parts[1].note
    widths = sorted(box[2] for part in parts for index in range(len(part)) for box in boxes(part, index))
    assert widths == list(range(1, 11))


def test_val_is_the_test_split_only_where_there_is_no_other_and_else_validates(tmp_path: Path) -> None:
    write_coco(write_coco(tmp_path, FOUR, images=4), [annotation(1, 1, (0, 0, 1, 1))], images=1, part="val")
    assert len(load(tmp_path, "test")) == 1 and load(tmp_path).validation is None
    write_coco(tmp_path, FOUR[:2], part="test")
    images = load(tmp_path)
    assert len(load(tmp_path, "test")) == 2 and len(images) == 5
    data = hold_out(images)
    assert len(data.train) == 4 and boxes(data.validation, 0) == [[0, 0, 1, 1]] and len(data.whole) == 5
    assert data.record.held_out_per_class == (1, 0)
    assert len(hold_out(images, fraction=0.4).validation) == 2  # a share that is asked for goes before
    without = images.subset(torch.tensor([0, 4, 1]).numpy())
    assert hold_out(without).validation.targets.boxes.tolist() == [[0, 0, 1, 1]]


def test_boxes_are_held_out_at_random_by_seed(tmp_path: Path) -> None:
    many = [annotation(number, number, (0, 0, number, 2)) for number in range(1, 13)]
    images = load(write_coco(with_test(tmp_path), many, images=12))
    first, again, other = (hold_out(images, fraction=0.25, seed=seed) for seed in (1, 1, 2))
    assert first.record == again.record != other.record and len(first.validation) == 3
    with pytest.raises(ValueError, match="both sides need at least one image"):
        hold_out(images, fraction=0.01)
    assert images.fingerprint != images.subset(torch.arange(11, -1, -1).numpy()).fingerprint


def test_crowd_boxes_and_images_without_boxes_are_kept(tmp_path: Path) -> None:
    crowd = annotation(1, 2, (0, 0, 5, 5), iscrowd=1, segmentation={"counts": [0, 25], "size": [5, 5]})
    images = load(write_coco(with_test(tmp_path), [crowd], images=3))
    assert len(images) == 3 and images.targets.crowd.tolist() == [True]
    assert [len(boxes(images, index)) for index in range(3)] == [0, 1, 0]
    assert len(load(write_coco(tmp_path, [], images=3))) == 3


ODD = {
    "partly outside": ([annotation(5, 1, (-3, 4, 8, 20))], [[0, 4, 5, 10]], None),
    "wholly outside": (
        [annotation(5, 1, (30, 0, 5, 5))],
        [],
        "1 boxes without any area .* annotation 5 of train/1.png",
    ),
    "no size": ([annotation(5, 1, (3, 3, 0, 5))], [], "1 boxes without any area"),
    "negative": ([annotation(5, 1, (3, 3, -2, 5)), annotation(6, 1, (3, 3, 2, -5))], [], "2 boxes without any area"),
    "same id": ([annotation(5, 1, (1, 1, 2, 2)), annotation(5, 2, (1, 1, 2, 2))], [[1, 1, 3, 3]], "annotation 5 in"),
    "same box": (
        [annotation(5, 1, (1, 1, 2, 2)), annotation(6, 1, (1, 1, 2, 2))],
        [[1, 1, 3, 3]] * 2,
        r"1 boxes that an image has twice \(kept\), the first: annotation 6 of train/1.png",
    ),
    "no such image": ([annotation(5, 77, (1, 1, 2, 2))], [], "1 annotations of images that are not listed .* image 77"),
}


@pytest.mark.parametrize(("annotations", "expected", "warning"), ODD.values(), ids=ODD)
def test_odd_annotations_are_cut_kept_or_left_out_as_said_in_one_warning(
    tmp_path: Path, annotations: Sequence[Any], expected: list[Any], warning: str | None
) -> None:
    write_coco(with_test(tmp_path), annotations)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        images = load(tmp_path)
    assert boxes(images, 0) == expected and len(images) == 2
    assert len(caught) == (warning is not None)
    if warning is not None:
        with pytest.warns(UserWarning, match=warning):
            load(tmp_path)


def test_all_that_is_odd_comes_in_one_warning(tmp_path: Path) -> None:
    write_coco(with_test(tmp_path), [each for annotations, *_ in ODD.values() for each in annotations])
    picture(tmp_path / "train" / "nobody.png")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(tmp_path)
    assert len(caught) == 1 and str(caught[0].message).count(", the first: ") == 5
    assert "1 image files that no annotation file lists (left out), the first" in str(caught[0].message)


WRONG = {
    "a list": (json.dumps([1]), "no COCO file: a JSON list"),
    "no JSON": ("{", "no COCO file: no JSON"),
    "other keys": (json.dumps({"images": [], "shapes": []}), "no list annotations and no list categories, but images"),
    "no categories": (json.dumps({"images": [], "annotations": [], "categories": []}), "lists no categories"),
    "two names": (
        json.dumps({"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}),
        "two categories have the name 'a'",
    ),
}


@pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=WRONG)
def test_what_is_no_coco_file_is_refused_in_words(tmp_path: Path, content: str, message: str) -> None:
    write_coco(tmp_path, [])
    (tmp_path / "annotations" / "instances_train.json").write_text(content)
    with pytest.raises(ValueError, match=f"instances_train.json: .*{message}"):
        load(tmp_path)


REFUSED = {
    "category": (annotation(4, 1, (1, 1, 2, 2), 99), "annotation 4 of image 1 has the category id 99"),
    "box": (annotation(4, 1, (1, 1, 2)), "annotation 4 of image 1 has the box .*four numbers"),
    "nan": (annotation(4, 1, (1, 1, float("nan"), 2)), "annotation 4 of train/1.png: its box .* not finite"),
    "no box": ({"id": 4, "image_id": 1, "category_id": 7}, "annotation 4 has no 'bbox'"),
    "no image": ({"id": 4, "category_id": 7}, "annotation 4 has no 'image_id'"),
    "a category that is a mapping": (annotation(4, 1, (1, 1, 2, 2), {}), "annotation 4 has the 'category_id' {}"),  # type: ignore[arg-type]
    "nothing": (3, "annotation number 0 has no 'image_id'"),
}


@pytest.mark.parametrize(("wrong", "message"), REFUSED.values(), ids=REFUSED)
def test_annotations_that_mean_nothing_are_refused_by_name(tmp_path: Path, wrong: Any, message: str) -> None:
    write_coco(with_test(tmp_path), [wrong])
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_images_that_are_missing_or_of_another_size_are_bad_images(tmp_path: Path) -> None:
    write_coco(with_test(tmp_path), FOUR, images=4)
    (tmp_path / "train" / "2.png").unlink()
    picture(tmp_path / "train" / "3.png", (10, 20))
    for options in ({}, {"keep_encoded": True}):
        with pytest.raises(BadImageError, match="train/2.png: No such file"):
            load(tmp_path, **options)
        with pytest.warns(UserWarning, match=r"2 bad images left out.*3.png: it has 10x20 pixels, what is annotated"):
            images = load(tmp_path, on_bad_image="skip", **options)
        assert len(images) == 2 and len(images.targets.labels) == 2


def test_an_encoded_image_of_another_size_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    write_coco(with_test(tmp_path), FOUR, images=4)
    picture(tmp_path / "train" / "3.png", (10, 20))
    images = load(tmp_path, keep_encoded=True)
    assert isinstance(images.images, EncodedImages) and images.open(0).size == (20, 10)
    with pytest.raises(
        BadImageError, match="3.png: it has 10x20 pixels, what is annotated has 20x10; one of them is turned"
    ):
        images.open(2)


def test_a_file_without_sizes_takes_them_from_the_images(tmp_path: Path) -> None:
    write_entries(with_test(tmp_path), [{"id": number, "file_name": f"{number}.png"} for number in (1, 2)])
    assert load(tmp_path).targets.sizes.tolist() == [[10, 20], [10, 20]]


def write_entries(folder: Path, entries: Sequence[Any]) -> None:
    content = {"images": list(entries), "annotations": WHOLE, "categories": CATEGORIES}
    (folder / "annotations" / "instances_train.json").write_text(json.dumps(content))
    for entry in entries:
        picture(folder / "train" / entry["file_name"])


def test_image_entries_without_a_name_or_with_one_id_are_refused(tmp_path: Path) -> None:
    write_coco(with_test(tmp_path), [])
    write_entries(tmp_path, [{"id": 1, "file_name": "1.png"}, {"id": 1, "file_name": "2.png"}])
    with pytest.raises(ValueError, match="two images have one id"):
        load(tmp_path)
    content = {"images": [{"id": 1}], "annotations": [], "categories": CATEGORIES}
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="an image has no 'file_name'"):
        load(tmp_path)


def test_a_coco_file_is_read_once_for_both_splits_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    parse = coco_file._content
    monkeypatch.setattr(coco_file, "_content", lambda path: read.append(path.name) or parse(path))
    write_coco(with_test(tmp_path), WHOLE)
    first = [load(tmp_path, split) for split in ("train", "test", "train", "test")]
    assert sorted(read) == ["instances_test.json", "instances_train.json"]
    assert first[0].fingerprint == first[2].fingerprint and first[1].fingerprint == first[3].fingerprint
    write_coco(tmp_path, WHOLE[:2])
    assert len(load(tmp_path).targets.labels) == 2 and len(first[0].targets.labels) == 3 and len(read) == 3


def test_what_is_odd_in_a_coco_file_is_said_again_when_it_is_not_read_again(tmp_path: Path) -> None:
    write_coco(with_test(tmp_path), [*WHOLE, annotation(3, 99, (0, 0, 1, 1))])
    for _ in range(2):
        with pytest.warns(UserWarning, match="1 annotations with an id that another one.*1 annotations of images that"):
            assert len(load(tmp_path).targets.labels) == 3


def test_a_test_file_may_order_its_categories_otherwise_but_not_add_one(tmp_path: Path) -> None:
    write_coco(tmp_path, WHOLE)
    other = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    write_coco(tmp_path, [annotation(1, 1, (0, 0, 1, 1), 1)], images=1, part="val", categories=other)
    assert load(tmp_path, "test").targets.labels.tolist() == [1]
    write_coco(tmp_path, [], images=1, part="val", categories=[{"id": 1, "name": "cow"}])
    with pytest.raises(ValueError, match=r"'cow' \(id 1\) is not one of the training part's"):
        load(tmp_path, "test")


def test_folders_that_are_no_such_source_are_refused_in_words(tmp_path: Path) -> None:
    for kind, message in [("coco", "train.*json"), ("voc", "JPEGImages"), ("yolo", "data.yaml")]:
        with pytest.raises(ValueError, match=message):
            load(tmp_path, "train", kind)
    with pytest.raises(ValueError, match="there is no .*nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is for detection, not for classification; set the task"):
        load_images(f"coco:{tmp_path}")
    with pytest.raises(ValueError, match="is none for segmentation; legal are masks:"):
        load_images(f"coco:{tmp_path}", task="segmentation")
    with pytest.raises(ValueError, match="is none for detection; legal are coco:"):
        load_images("digits", task="detection")
    with pytest.raises(ValueError, match="task 'poses'"):
        load_images("digits", task="poses")  # type: ignore[arg-type]
    write_coco(tmp_path, WHOLE)
    for path in (tmp_path / "train").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="none of its images is in"):
        load(tmp_path)
    (tmp_path / "annotations" / "instances_train2.json").write_text("{}")
    with pytest.raises(ValueError, match="several annotation files"):
        load(tmp_path)


def test_the_same_boxes_are_the_same_targets_in_every_kind_of_file(tmp_path: Path) -> None:
    corners = {"1": [(2, 1, 8, 5), (0, 0, 20, 10)], "2": [], "3": [(10, 2, 14, 8)]}
    folders = {kind: tmp_path / kind for kind in ("coco", "voc", "yolo")}
    known = [
        annotation(number, int(name), (x1, y1, x2 - x1, y2 - y1))
        for name, own in corners.items()
        for number, (x1, y1, x2, y2) in enumerate(own, 10 * int(name))
    ]
    cats = [{"id": CAT, "name": "cat"}]
    for part in ("train", "val"):
        write_coco(folders["coco"], known, images=3, part=part, categories=cats)
    of_voc = {
        name: "".join(voc_object("cat", (x1 + 1, y1 + 1, x2, y2)) for x1, y1, x2, y2 in own)
        for name, own in corners.items()
    }
    write_voc(folders["voc"], {"train": of_voc, "val": of_voc})
    of_yolo = {
        name: "".join(
            f"0 {(x1 + x2) / 40} {(y1 + y2) / 20} {(x2 - x1) / 20} {(y2 - y1) / 10}\n" for x1, y1, x2, y2 in own
        )
        for name, own in corners.items()
    }
    write_yolo(folders["yolo"], of_yolo, "train: images/train\nval: images/train\nnames: [cat]\n")
    sets = [load(folder, "train", kind) for kind, folder in folders.items()]
    for images in sets:
        assert images.classes == ("cat",) and images.targets.labels.tolist() == [0, 0, 0]
        assert images.targets.starts.tolist() == [0, 2, 2, 3]
        torch.testing.assert_close(images.targets.boxes, sets[0].targets.boxes)
        torch.testing.assert_close(images.targets.areas, sets[0].targets.areas)
        assert torch.equal(images.targets.sizes, sets[0].targets.sizes)


def test_voc_counts_places_from_one_and_keeps_difficult_objects_as_ordinary_ones(tmp_path: Path) -> None:
    cat, dog = voc_object("cat", (1, 1, 20, 10)), voc_object("dog", (3, 2, 6, 5), "<difficult>1</difficult>")
    write_voc(tmp_path, {"train": {"a": cat + dog, "b": ""}, "val": {"c": dog}, "test": {"d": cat}})
    images = load(tmp_path, "train", "voc")
    assert images.classes == ("cat", "dog") and len(images) == 3 and images.validation is not None
    assert images.validation.tolist() == [2]
    assert boxes(images, 0) == [[0, 0, 20, 10], [2, 1, 6, 5]] and boxes(images, 1) == []
    assert images.targets.labels.tolist() == [0, 1, 1] and not images.targets.crowd.any()
    assert boxes(load(tmp_path, "test", "voc"), 0) == [[0, 0, 20, 10]]


def test_voc_files_that_are_wrong_are_refused_by_name(tmp_path: Path) -> None:
    cat = voc_object("cat", (1, 1, 20, 10))
    write_voc(tmp_path, {"train": {"a": cat, "b": ""}, "test": {"c": voc_object("cow", (1, 1, 2, 2))}})
    with pytest.raises(ValueError, match=r"object 1 in c.xml: the class 'cow' is not one of the training part's: cat"):
        load(tmp_path, "test", "voc")
    (tmp_path / "Annotations" / "b.xml").write_text("<annotation><object><name>cat</name></object></annotation>")
    with pytest.raises(ValueError, match=r"object 1 in b.xml: its bndbox needs"):
        load(tmp_path, "train", "voc")
    (tmp_path / "Annotations" / "b.xml").write_text("<annotation>")
    with pytest.raises(ValueError, match="b.xml: no element found"):
        load(tmp_path, "train", "voc")
    (tmp_path / "Annotations" / "b.xml").unlink()
    with pytest.raises(ValueError, match=r"b.xml: there is no such file"):
        load(tmp_path, "train", "voc")
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("\n")
    with pytest.raises(ValueError, match="no object in the annotations"):
        load(tmp_path, "train", "voc")


def test_yolo_shares_become_pixels_and_images_without_a_file_have_no_boxes(tmp_path: Path) -> None:
    yaml = "path: /not/here\ntrain: ../images/train\nval: images/train\nnames: {0: cat, 1: dog}\n"
    write_yolo(tmp_path, {"a": "1 0.5 0.5 0.2 0.4\n\n0 0.1 0.1 0.2 0.2\n", "b": ""}, yaml)
    picture(tmp_path / "images" / "train" / "c.png", (40, 20))
    images = load(tmp_path, "train", "yolo", image_size=(10, 20))
    assert images.classes == ("cat", "dog") and len(images) == 3
    assert torch.allclose(images.targets.boxes, torch.tensor([[8.0, 3, 12, 7], [0, 0, 4, 2]]))
    assert images.targets.labels.tolist() == [1, 0] and images.targets.sizes[2].tolist() == [20, 40]
    assert len(load(tmp_path / "data.yaml", "test", "yolo", image_size=8)) == 3


def test_yolo_lists_of_images_are_read_and_labels_beside_images(tmp_path: Path) -> None:
    picture(tmp_path / "pictures" / "a.png")
    (tmp_path / "pictures" / "a.txt").write_text("0 0.5 0.5 1 1\n")
    (tmp_path / "all.txt").write_text("./pictures/a.png\n")
    (tmp_path / "mine.yaml").write_text("train: all.txt\nval: all.txt\nnames: [cat]\n")
    assert boxes(load(tmp_path / "mine.yaml", "train", "yolo"), 0) == [[0, 0, 20, 10]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 0.1 0.1", "a.txt, line 2: has the class 2; the names are those of 0 to 1"),
        ("0 0.5 0.5 0.1", "a.txt, line 2: has 4 numbers"),
        ("0 0.5 0.5 0.1 x", "a.txt, line 2: .* no number"),
    ],
)
def test_yolo_lines_that_mean_nothing_are_refused_by_place(tmp_path: Path, line: str, message: str) -> None:
    write_yolo(tmp_path, {"a": f"0 0.5 0.5 0.1 0.1\n{line}\n"})
    with pytest.raises(ValueError, match=message):
        load(tmp_path, "train", "yolo")


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("names: [a]\n", "needs the keys train and names"),
        ("train: nowhere\nnames: [a]\n", "there is no nowhere"),
        ("train: images\nnames: cat\n", "its names are 'cat'"),
        ("train: images\nnames: {1: a}\n", "needed are those from 0 up"),
        ("a: [", r"^[^\n]*no YAML[^\n]*$"),
    ],
)
def test_yolo_files_that_are_wrong_are_refused_in_words(tmp_path: Path, yaml: str, message: str) -> None:
    write_yolo(tmp_path, {"a": ""}, yaml)
    with pytest.raises(ValueError, match=message):
        load(tmp_path, "train", "yolo")


def test_yolo_images_that_cannot_be_read_are_bad_images(tmp_path: Path) -> None:
    write_yolo(tmp_path, {"a": "0 0.5 0.5 1 1\n", "b": "0 0.5 0.5 1 1\n", "c": "", "d": ""})
    (tmp_path / "images" / "train" / "b.png").write_bytes(b"no image")
    with pytest.raises(BadImageError, match="b.png: it is no image"):
        load(tmp_path, "train", "yolo")
    with pytest.warns(UserWarning, match="1 bad image left out"):
        parts = [load(tmp_path, split, "yolo", on_bad_image="skip") for split in ("train", "test")]
    assert sum(map(len, parts)) == 3 and sum(len(part.targets.labels) for part in parts) == 1


@needs_shared
def test_real_coco_files_are_read_as_they_are() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        blood = [load(SHARED / "data" / "bccd_coco", split, image_size=(128, 160)) for split in ("train", "test")]
    assert [len(each) for each in blood] == [292, 72] and blood[0].classes == ("RBC", "WBC", "Platelets")
    assert [len(each.targets.labels) for each in blood] == [2804 + 1137, 945]
    assert len(hold_out(blood[0]).validation) == 87
    parts = [load(SHARED / "data" / "coco_tiny", split, keep_encoded=True) for split in ("train", "test")]
    assert [len(each.targets.labels) for each in parts] == [470, 382] and len(parts[0].classes) == 80
    assert [int(each.targets.crowd.sum()) for each in parts] == [5, 5]
    assert [int((each.targets.starts.diff() == 0).sum()) for each in parts] == [1, 2]


@needs_shared
def test_real_boxes_are_those_that_a_plain_reading_finds() -> None:
    folder = SHARED / "data" / "coco_tiny"
    content = json.loads((folder / "annotations" / "instances_val2017.json").read_text())
    images = load(folder, "test", keep_encoded=True)
    for index, entry in enumerate(content["images"]):
        own = [each for each in content["annotations"] if each["image_id"] == entry["id"]]
        expected = [[x, y, x + w, y + h] for x, y, w, h in (each["bbox"] for each in own)]
        torch.testing.assert_close(
            torch.tensor(boxes(images, index)).view(-1, 4), torch.tensor(expected).view(-1, 4), rtol=0, atol=1e-2
        )
        with Image.open(folder / "val2017" / entry["file_name"]) as image:
            assert images.open(index).size == image.size


def test_the_mark_that_windows_puts_before_texts_is_no_part_of_them(tmp_path: Path) -> None:
    write_coco(tmp_path / "coco", FOUR, images=4)
    write_voc(tmp_path / "voc", {"train": {each: voc_object("cat", (3, 2, 8, 5)) for each in "abcd"}})
    write_yolo(tmp_path / "yolo", dict.fromkeys("abcd", "0 0.25 0.3 0.3 0.4\n"))
    masks = write_masks(tmp_path / "masks", dict.fromkeys("abcd", [[0, 1]]))
    (masks / "classes.txt").write_text("road\ntree\n")
    for path in [*tmp_path.rglob("*.txt"), *tmp_path.rglob("*.json"), *tmp_path.rglob("*.yaml")]:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    for kind in ("coco", "voc", "yolo"):
        assert boxes(load(tmp_path / kind, kind=kind), 0) == [pytest.approx([2, 1, 8, 5])]
    assert load_images(f"masks:{masks}", task="segmentation").classes == ("road", "tree")


def test_names_of_images_in_lists_of_voc_may_have_spaces(tmp_path: Path) -> None:
    names = ("my photo 1", "b", "c 0", "d")
    write_voc(tmp_path, {"train": {each: voc_object("cat", (3, 2, 8, 5)) for each in names}})
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("my photo 1\nb  1\nc 0\nd -1\n")
    write_voc(tmp_path, {"test": {"e": voc_object("cat", (3, 2, 8, 5))}})
    identity = load(tmp_path, kind="voc").identity
    assert identity is not None and [*identity.names] == [f"JPEGImages/{each}.jpg" for each in names]


def test_labels_of_yolo_without_an_image_are_told(tmp_path: Path) -> None:
    folder = write_yolo(tmp_path, dict.fromkeys("abcde", "0 0.5 0.5 0.1 0.1\n"))
    (folder / "images" / "train" / "b.png").unlink()
    with pytest.warns(UserWarning, match=r"1 label files without an image .left out., the first: .*train/b\.txt"):
        assert len(load(folder, kind="yolo")) + len(load(folder, "test", kind="yolo")) == 4
