"""Batches of images with boxes or masks: what belongs to a picture stays where it is seen."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nasvit.compute import Compute
from nasvit.data import Augmentation, ImageSet, Loader, Normalization, load_images
from nasvit.data.letterbox import FILL
from nasvit.data.targets import IGNORED, Boxes, BoxTargets, map_tensors
from tests.nasvit.data.annotated_folders import annotation, picture, write_coco, write_masks
from tests.nasvit.pretend import PretendDevice

AS_STORED = Normalization((0.0,) * 3, (1 / 255,) * 3, "nothing")
SIZES = ((64, 48), (48, 64), (160, 50), (33, 47), (30, 30), (90, 100), (400, 301), (301, 400))  # width, height
SERVED = (48, 64)
DARK, LIGHT, HALF = 20, 235, 128  # the fill is dark too
PLAIN = Augmentation(randaugment=0, random_erasing=0, mixup=0, cutmix=0)
SHOWN = 2  # class of light pixels in masks: were values averaged, there would be 1
CROPS = {
    "none": replace(PLAIN, crop="none", mirror=False),
    "mirror": replace(PLAIN, crop="none"),
    "pad": replace(PLAIN, crop="pad", padding=9),
    "resized": replace(PLAIN, crop="resized"),
}
STRONG = replace(PLAIN, crop="resized", randaugment=5, random_erasing=0.5, mixup=1.5)
KINDS = ("png", "jpg", "held")

Batch = tuple[torch.Tensor, Any]


def rectangle(size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    (x1, x2), (y1, y2) = (sorted(rng.choice(7, 2, replace=False) * (side // 6)) for side in size)
    return int(x1), int(y1), int(x2), int(y2)


def write_rectangles(folder: Path, kind: str) -> Path:
    """Dark pictures with one light rectangle each, with its box, and with a mask of it."""
    rng, entries, boxes = np.random.default_rng(3), [], []
    for number, (width, height) in enumerate(SIZES * 2):
        x1, y1, x2, y2 = rectangle((width, height), rng)
        pixels = np.full((height, width, 3), DARK, dtype=np.uint8)
        pixels[y1:y2, x1:x2] = LIGHT
        name = f"{number:02d}.{'jpg' if kind == 'jpg' else 'png'}"
        for part in ("images/train", "masks/train"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "images" / "train" / name, quality=95, subsampling=0)
        mask = np.where(pixels[..., 0] == LIGHT, SHOWN, 0).astype(np.uint8)
        Image.fromarray(mask).save(folder / f"masks/train/{number:02d}.png")
        entries.append({"id": number, "file_name": name, "width": width, "height": height})
        boxes.append(annotation(number, number, (x1, y1, x2 - x1, y2 - y1)))
    (folder / "annotations").mkdir()
    content = {"images": entries, "annotations": boxes, "categories": [{"id": 7, "name": "light"}]}
    for part in ("train", "test"):
        (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
    for kind_of in ("images", "masks"):
        (folder / kind_of / "test").symlink_to(folder / kind_of / "train")
    return folder


@pytest.fixture(scope="module")
def rectangles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: write_rectangles(tmp_path_factory.mktemp(kind), kind) for kind in ("png", "jpg")}


def load(folders: dict[str, Path], kind: str, task: Any = "detection", *, size: Any = SERVED) -> ImageSet:
    folder = folders["png" if kind == "held" else kind]
    source = f"coco:{folder}" if task == "detection" else str(folder)
    return load_images(source, task=task, image_size=size, keep_encoded=kind != "held")


def make(images: ImageSet, augmentation: Augmentation, **options: Any) -> Loader:
    arguments = {"batch_size": 8, "normalization": AS_STORED, "seed": 1, "image_size": SERVED, **options}
    return Loader(images, augmentation=augmentation, **arguments)


def pairs(loader: Loader, epochs: int = 6) -> Iterator[tuple[np.ndarray[Any, Any], Any]]:
    """Yield one channel of every image, and what belongs to it."""
    for epoch in range(epochs):
        for images, targets in loader.batches(epoch):
            for place, image in enumerate(images.numpy()):
                yield image[0], map_tensors(lambda each, place=place: each[place], targets)  # type: ignore[misc]


def seen_box(light: np.ndarray[Any, Any]) -> list[int]:
    rows, columns = np.flatnonzero(light.any(1)), np.flatnonzero(light.any(0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def equal(first: Batch, second: Batch) -> bool:
    same = torch.equal(first[0], second[0])
    others = (first[1], second[1]) if isinstance(first[1], tuple) else ((first[1],), (second[1],))
    return same and all(torch.equal(*each) for each in zip(*others, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("crop", CROPS)
def test_a_box_is_where_its_rectangle_is_seen(rectangles: dict[str, Path], kind: str, crop: str) -> None:
    blur = 2.0 if kind == "held" and crop == "resized" else 1.0  # an image that is held small is enlarged
    scales, dropped = set(), 0
    for image, targets in pairs(make(load(rectangles, kind), CROPS[crop])):
        light = image > HALF
        scales.add(round(float(targets.scale), 4))
        kept = targets.boxes[targets.labels == 0]
        if len(kept) == 0:
            dropped += 1
            assert not targets.boxes.any() and (targets.labels == -1).all()
            continue
        assert np.abs(np.array(seen_box(light)) - kept[0].numpy()).max() <= blur
    assert (dropped > 0) == (crop in ("pad", "resized"))
    assert len(scales) > 40 if crop == "resized" else len(scales) == 8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("crop", CROPS)
def test_a_mask_is_where_its_rectangle_is_seen_and_nowhere_around_the_image(
    rectangles: dict[str, Path], kind: str, crop: str
) -> None:
    around = 0
    for image, mask in pairs(make(load(rectangles, kind, "segmentation"), CROPS[crop])):
        light, mask = image > HALF, mask.numpy()
        assert mask.dtype == np.int64 and set(np.unique(mask)) <= {0, SHOWN, IGNORED}
        ignored = mask == IGNORED
        assert np.all(np.abs(image[ignored] - FILL) < 1e-3)  # nothing of an image lies there
        around += int(ignored.sum())
        wrong = (light != (mask == SHOWN)) & ~ignored
        near = np.zeros_like(light)
        for axis in (0, 1):
            for step in (-2, -1, 1, 2):
                near |= np.roll(mask, step, axis) != mask
        assert not (wrong & ~near).any() and wrong.sum() <= 0.12 * light.size
    assert around > 0


def test_colors_change_and_nothing_moves_under_randaugment(rectangles: dict[str, Path]) -> None:
    images = load(rectangles, "png", "segmentation")
    plain, colored = (
        list(pairs(make(images, replace(CROPS["resized"], randaugment=strength, randaugment_layers=2))))
        for strength in (0, 9)
    )
    changed = 0
    for (before, mask), (after, same) in zip(plain, colored, strict=True):
        assert torch.equal(mask, same)
        changed += not np.array_equal(before, after)
        inside = mask.numpy() == SHOWN
        for axis in (0, 1):
            for step in range(-4, 5):
                inside &= np.roll(mask.numpy(), step, axis) == SHOWN
        assert np.ptp(after[inside]) < 3 if inside.any() else True
    assert changed > len(plain) / 3


def test_evaluation_fits_images_inside_by_one_scale_and_keeps_every_box(rectangles: dict[str, Path]) -> None:
    for kind in KINDS:
        images = load(rectangles, kind)
        batches = list(make(images, STRONG, batch_size=5).evaluation_batches())
        assert [len(each) for each, _ in batches] == [5, 5, 5, 1]
        found = BoxTargets(*(torch.cat(each) for each in zip(*(targets for _, targets in batches))))
        expected = torch.tensor([min(SERVED[0] / height, SERVED[1] / width) for width, height in SIZES * 2])
        torch.testing.assert_close(found.scale, expected)
        torch.testing.assert_close(found.boxes[:, 0], images.targets.boxes * expected[:, None])
        assert found.areas[:, 0].tolist() == images.targets.areas.tolist()
        assert (found.labels[:, 0] == 0).all() and (found.labels[:, 1:] == -1).all()


def test_evaluation_is_the_letterboxed_picture_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(60, 80, 3), dtype=np.uint8)
    tiny = annotation(2, 1, (78, 58, 1, 1), area=0.5)
    write_coco(tmp_path, [annotation(1, 1, (8, 4, 40, 20), area=99.5), tiny], images=1)
    write_coco(tmp_path, [], images=1, part="test")
    content = json.loads((tmp_path / "annotations" / "instances_train.json").read_text())
    content["images"][0].update(width=80, height=60)
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(content))
    Image.fromarray(pixels).save(tmp_path / "train" / "1.png")
    expected = np.full((32, 40, 3), FILL, dtype=np.uint8)
    expected[:30] = np.asarray(Image.fromarray(pixels).resize((40, 30), Image.Resampling.BICUBIC))
    for encoded in (True, False):
        images = load_images(f"coco:{tmp_path}", task="detection", image_size=(32, 40), keep_encoded=encoded)
        served, targets = next(make(images, STRONG, batch_size=1, image_size=(32, 40)).evaluation_batches())
        assert np.array_equal(served[0].permute(1, 2, 0).round().numpy(), expected)
        assert targets.boxes[:, :2].tolist() == [[[4, 2, 24, 12], [39, 29, 39.5, 29.5]]]
        assert targets.scale.tolist() == [0.5] and not targets.crowd.any()
        assert targets.areas[:, :2].tolist() == [[99.5, 0.5]] and targets.labels[0].tolist() == [0] * 2 + [-1] * 6
        assert [each.dtype for each in targets] == [
            torch.float32,
            torch.int64,
            torch.bool,
            torch.float32,
            torch.float32,
        ]


@pytest.mark.parametrize("task", ["detection", "segmentation"])
@pytest.mark.parametrize("kind", ["jpg", "held"])
def test_batches_are_a_pure_function_of_seed_epoch_and_index(rectangles: dict[str, Path], kind: str, task: str) -> None:
    images = load(rectangles, kind, task)
    strong = STRONG if task == "detection" else replace(STRONG, mixup=0)
    unbroken = list(make(images, strong, batch_size=4).batches(epoch=2))
    torch.manual_seed(9)
    np.random.seed(9)
    before = torch.get_rng_state()
    resumed = list(make(images, strong, batch_size=4).batches(epoch=2, start=1))
    assert len(resumed) == 3 and all(equal(*pair) for pair in zip(resumed, unbroken[1:], strict=True))
    assert torch.equal(torch.get_rng_state(), before)
    assert not equal(unbroken[0], make(images, strong, batch_size=4, seed=2).batch(2, 0))
    assert not equal(unbroken[0], make(images, strong, batch_size=4).batch(3, 0))


@pytest.mark.parametrize("task", ["detection", "segmentation"])
@pytest.mark.parametrize("world", [2, 4])
def test_the_parts_of_all_processes_are_the_batch_of_one(rectangles: dict[str, Path], task: str, world: int) -> None:
    images = load(rectangles, "jpg", task)
    strong = STRONG if task == "detection" else replace(STRONG, mixup=0)
    whole = make(images, strong).batch(1, 1)
    parts = [make(images, strong, compute=Compute(rank=rank, count=world)).batch(1, 1) for rank in range(world)]
    half = 8 // world // 2

    def joined(each: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([part[:half] for part in each] + [part[half:] for part in reversed(each)])

    assert torch.equal(joined([part[0] for part in parts]), whole[0])
    if task == "segmentation":
        assert torch.equal(joined([part[1] for part in parts]), whole[1])
        return
    for field in BoxTargets._fields:
        assert torch.equal(joined([getattr(part[1], field) for part in parts]), getattr(whole[1], field))


CROWDED = 20  # boxes of the image that has most


@pytest.fixture
def crowded(tmp_path: Path) -> ImageSet:
    """Images with one box each, but for the first, which has many."""
    of_first = [annotation(100 + number, 1, (number / 2, 0, 5, 5)) for number in range(CROWDED)]
    write_coco(tmp_path, [*of_first, *(annotation(number, number, (0, 0, 9, 9)) for number in range(2, 17))], images=16)
    write_coco(tmp_path, [], images=1, part="test")
    return load_images(f"coco:{tmp_path}", task="detection")


@pytest.mark.parametrize("mixup", [0, 1.5])
def test_a_batch_has_room_for_its_own_boxes_whatever_other_images_have(crowded: ImageSet, mixup: float) -> None:
    loader = make(crowded, replace(PLAIN, crop="none", mixup=mixup), batch_size=4, image_size=(10, 20))
    rooms = []
    for _, targets in loader.batches(0):
        most = int((targets.labels >= 0).sum(1).max())
        rooms.append((most, targets.labels.shape[1]))
    times = 2 if mixup else 1
    assert sorted(rooms) == [(times, 8 * times)] * 3 + [(CROWDED + times - 1, 24 * times)]
    assert [targets.labels.shape[1] for _, targets in loader.evaluation_batches()] == [24, 8, 8, 8]


@pytest.mark.parametrize("mixup", [0, 1.5])
def test_all_processes_make_room_for_the_boxes_of_the_joined_batch(crowded: ImageSet, mixup: float) -> None:
    strong = replace(STRONG, mixup=mixup)
    own, several = (
        [make(crowded, strong, image_size=(10, 20), compute=compute) for compute in computes]
        for computes in ([Compute()], [Compute(rank=rank, count=2) for rank in range(2)])
    )
    for index in range(2):
        (_, whole), *parts = (loader.batch(0, index) for loader in own + several)
        assert [part.labels.shape[1] for _, part in parts] == [whole.labels.shape[1]] * 2
        joined = torch.cat([part.labels[:2] for _, part in parts] + [part.labels[2:] for _, part in reversed(parts)])
        assert torch.equal(joined, whole.labels)


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_worker_processes_serve_the_same_batches(rectangles: dict[str, Path], task: str) -> None:
    images = load(rectangles, "png", task)
    strong = STRONG if task == "detection" else replace(STRONG, mixup=0)
    alone, helped = (make(images, strong, batch_size=4, workers=workers) for workers in (0, 1))
    assert all(equal(*pair) for pair in zip(alone.steps(2, 6), helped.steps(2, 6), strict=True))
    assert all(equal(*pair) for pair in zip(alone.evaluation_batches(), helped.evaluation_batches(), strict=True))
    for kept in helped._evaluation[True]._kept.values():
        tensors = kept.targets if isinstance(kept.targets, tuple) else (kept.targets,)
        assert not any(each.is_shared() for each in tensors)
    calibrations = alone.calibration_batches(2), helped.calibration_batches(2)
    assert all(torch.equal(*pair) for pair in zip(*calibrations, strict=True))
    sent = pickle.loads(pickle.dumps(alone._preparation)).training(1, 0, alone.places)
    assert torch.equal(sent.pixels, alone._preparation.training(1, 0, alone.places).pixels)


def test_mixup_averages_pictures_and_keeps_the_boxes_of_both(rectangles: dict[str, Path]) -> None:
    images = load(rectangles, "png")
    plain, targets = make(images, PLAIN).batch(0, 0)
    mixed, joined = make(images, replace(PLAIN, mixup=1.5)).batch(0, 0)
    weights = torch.tensor([float(((a - c) / (b - c)).nanmedian()) for a, b, c in zip(mixed, plain, plain.flip(0))])
    weight = float(weights.median())
    assert 0 < weight < 1
    torch.testing.assert_close(mixed, plain * weight + plain.flip(0) * (1 - weight), rtol=0, atol=0.01)
    assert torch.equal(joined.boxes, torch.cat([targets.boxes, targets.boxes.flip(0)], 1))
    assert torch.equal(joined.labels, torch.cat([targets.labels, targets.labels.flip(0)], 1))
    assert torch.equal(joined.scale, targets.scale)
    assert mixed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("crop", ["none", "mirror", "pad"])
def test_encoded_images_are_served_like_the_same_ones_in_memory(rectangles: dict[str, Path], crop: str) -> None:
    for task in ("detection", "segmentation"):
        encoded, held = (make(load(rectangles, kind, task), CROPS[crop]).batch(1, 0) for kind in ("png", "held"))
        assert (encoded[0] - held[0]).abs().max() < 1.5  # a part of an image is resized as the whole, but for rounding
        assert equal((encoded[0], encoded[1]), (encoded[0], held[1]))


def test_what_boxes_and_masks_do_not_allow_is_refused_in_words(rectangles: dict[str, Path]) -> None:
    boxes, masks = load(rectangles, "png"), load(rectangles, "png", "segmentation")
    with pytest.raises(ValueError, match=r"cutmix 0.5 is for class labels, not for boxes; set it to 0"):
        make(boxes, replace(PLAIN, cutmix=0.5))
    with pytest.raises(ValueError, match=r"cutmix 0.5 .* not for masks"):
        make(masks, replace(PLAIN, cutmix=0.5))
    with pytest.raises(ValueError, match=r"mixup 0.5 is not for masks; set it to 0"):
        make(masks, replace(PLAIN, mixup=0.5))
    with pytest.raises(ValueError, match=r"crop_pct 0.9 would cut boxes away"):
        make(boxes, PLAIN, crop_pct=0.9, image_size=32)
    with pytest.raises(ValueError, match="give the image_size to serve"):
        make(boxes, PLAIN, image_size=None)
    with pytest.raises(ValueError, match="padding 48"):
        make(boxes, replace(PLAIN, padding=48))


def test_height_and_width_are_refused_for_class_labels() -> None:
    with pytest.raises(ValueError, match=r"digits: image_size \[8, 16\]: images to classify are brought to squares"):
        load_images("digits", image_size=(8, 16))
    with pytest.raises(ValueError, match="brought to squares"):
        make(load_images("digits"), PLAIN, image_size=(8, 8))


def test_images_of_which_nothing_is_seen_are_gray_and_have_no_box(tmp_path: Path) -> None:
    write_masks(tmp_path, {"a": np.zeros((4, 200)), "b": np.zeros((200, 4))})
    write_masks(tmp_path, {"a": np.zeros((4, 200))}, "test")
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    images = load_images(tmp_path, task="segmentation", image_size=32, keep_encoded=True)
    gray = [
        image
        for image, mask in pairs(make(images, replace(PLAIN, padding=8), batch_size=2, image_size=32), 20)
        if bool((mask == IGNORED).all())
    ]
    assert len(gray) > 5 and all(np.abs(image - FILL).max() < 1e-3 for image in gray)


def test_boxes_that_hardly_anything_is_left_of_are_dropped(tmp_path: Path) -> None:
    pieces = [(0, 0, 20, 10), (0, 0, 1, 1), (18, 0, 2, 10), (9, 5, 0.9, 1)]  # the last one is too small in any case
    write_coco(tmp_path, [annotation(number, 1, box) for number, box in enumerate(pieces)], images=1)
    write_coco(tmp_path, [], images=1, part="test")
    images = load_images(f"coco:{tmp_path}", task="detection", keep_encoded=True)
    loader = make(images, replace(PLAIN, padding=4, mirror=False), batch_size=1, image_size=(10, 20))
    seen: dict[int, list[Any]] = {place: [] for place in range(3)}
    for epoch in range(60):
        _, targets = loader.batch(epoch, 0)
        boxes = targets.boxes[0][targets.labels[0] >= 0].tolist()
        assert boxes == [box for box in targets.boxes[0].tolist() if any(box)]  # they come first
        for x1, y1, x2, y2 in boxes:
            assert 0 <= x1 < x2 <= 20 and 0 <= y1 < y2 <= 10 and min(x2 - x1, y2 - y1) >= 1
        seen[len(boxes) - 1].append(boxes)
    assert all(seen.values())  # one, two or three boxes are left


def test_a_zoomed_image_fills_what_is_served_or_lies_inside_of_it(tmp_path: Path) -> None:
    write_masks(tmp_path, {name: np.zeros((96, 128)) for name in "abcd"})
    write_masks(tmp_path, {"a": np.zeros((4, 4))}, "test")
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    images = load_images(tmp_path, task="segmentation", image_size=SERVED)
    widths = set()
    for _, mask in pairs(make(images, CROPS["resized"], batch_size=4), 20):
        x1, y1, x2, y2 = seen_box(mask.numpy() == 0)
        widths.add(x2 - x1)
        assert (mask[y1:y2, x1:x2] == 0).all() and abs((x2 - x1) * 3 - (y2 - y1) * 4) <= 4
    assert min(widths) < 36 and max(widths) == 64 and len(widths) > 15


def test_small_images_without_any_box_make_batches(tmp_path: Path) -> None:
    write_coco(write_coco(tmp_path, []), [], images=1, part="test")
    images = load_images(f"coco:{tmp_path}", task="detection")
    pixels, targets = make(images, replace(STRONG, mixup=0), batch_size=2, image_size=None).batch(0, 0)
    assert pixels.shape == (2, 3, 10, 20) and targets.boxes.shape == (2, 8, 4) and (targets.labels == -1).all()
    assert isinstance(images.targets, Boxes) and not images.targets.crowd.any()


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_batches_are_finished_on_the_device_without_being_read_back(rectangles: dict[str, Path], task: str) -> None:
    strong = STRONG if task == "detection" else replace(STRONG, mixup=0)
    loader = make(
        load(rectangles, "held", task), replace(strong, random_erasing=1), compute=Compute(torch.device("meta"))
    )
    loader.batch(0, 0)
    with PretendDevice() as watched:
        batches = [*loader.steps(0, 2), *loader.evaluation_batches()]
    assert watched.copies == 2 * 3 + 2 * 2 if task == "segmentation" else 2 * 7 + 2 * 6
    for _, targets in batches:
        kinds = {each.device.type for each in (targets if isinstance(targets, tuple) else (targets,))}
        assert kinds == {"meta"}


def test_a_picture_is_decoded_once_where_a_set_is_held(
    rectangles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = load(rectangles, "held")
    monkeypatch.setattr("nasvit.data.encoded.opened", None)
    assert len(list(make(images, STRONG).batches(0))) == 2 and len(list(make(images, STRONG).evaluation_batches())) == 2


def test_gray_images_are_served_with_boxes(tmp_path: Path) -> None:
    write_coco(tmp_path, [annotation(1, 1, (0, 0, 9, 9))])
    write_coco(tmp_path, [], images=1, part="test")
    picture(tmp_path / "train" / "2.png")
    images = load_images(f"coco:{tmp_path}", task="detection", channels=1)
    gray = Normalization((0.0,), (1 / 255,), "nothing")
    pixels, _ = make(images, replace(STRONG, mixup=0), batch_size=2, normalization=gray, image_size=(16, 16)).batch(
        0, 0
    )
    assert pixels.shape == (2, 1, 16, 16)
