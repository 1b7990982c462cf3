"""Drawn pictures of two kinds of boxes, with the boxes or with masks, for tests that train."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (48, 64)
CLASSES = ("red", "blue")
_COLORS = ((220, 40, 40), (40, 60, 220))

Objects = list[tuple[int, tuple[int, int, int, int]]]


def draw(rng: np.random.Generator) -> tuple[np.ndarray, Objects]:
    """Return a noisy picture with one to three boxes that do not overlap: class, and x, y, width, height of each."""
    height, width = SIZE
    picture = rng.integers(90, 150, (height, width, 3), dtype=np.uint8)
    objects: Objects = []
    for column in rng.permutation(3)[: rng.integers(1, 4)]:
        side, label = int(rng.integers(10, 20)), int(rng.integers(2))
        x, y = int(column) * 21 + int(rng.integers(0, 21 - side + 1)), int(rng.integers(0, height - side))
        picture[y : y + side, x : x + side] = _COLORS[label]
        objects.append((label, (x, y, side, side)))
    return picture, objects


def write_boxes(folder: Path, train: int = 64, test: int = 16) -> str:
    """Write a COCO folder of drawn pictures and return its source."""
    rng = np.random.default_rng(0)
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(CLASSES)]
    for part, count in (("train", train), ("test", test)):
        images, annotations = [], []
        (folder / part).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture, objects = draw(rng)
            Image.fromarray(picture).save(folder / part / f"{number}.png")
            images.append({"id": number, "file_name": f"{number}.png", "width": SIZE[1], "height": SIZE[0]})
            for label, box in objects:
                told = {"id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "bbox": list(box)}
                annotations.append({**told, "area": box[2] * box[3], "iscrowd": 0})
        (folder / "annotations").mkdir(exist_ok=True)
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
    return f"coco:{folder}"


def write_masks(folder: Path, train: int = 64, test: int = 16) -> str:
    """Write a folder of drawn pictures with masks, of ground, red and blue, and return its source."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        for kind in ("images", "masks"):
            (folder / kind / part).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture, objects = draw(rng)
            mask = np.zeros(SIZE, dtype=np.uint8)
            for label, (x, y, width, height) in objects:
                mask[y : y + height, x : x + width] = label + 1
            Image.fromarray(picture).save(folder / "images" / part / f"{number}.png")
            Image.fromarray(mask).save(folder / "masks" / part / f"{number}.png")
    (folder / "classes.txt").write_text("ground\nred\nblue\n")
    return f"masks:{folder}"
