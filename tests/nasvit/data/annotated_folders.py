"""Small folders of images with boxes or masks, for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]
CAT, DOG = 7, 3

Box = Sequence[float]


def picture(path: Path, size: tuple[int, int] = (20, 10), color: tuple[int, int, int] = (9, 99, 199)) -> Path:
    """Write an image of a width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def annotation(number: int, image: int, box: Box, category: int = CAT, **more: Any) -> dict[str, Any]:
    """Return one annotation of a COCO file."""
    return {"id": number, "image_id": image, "category_id": category, "bbox": list(box), **more}


def coco_content(annotations: Sequence[Mapping[str, Any]], images: int = 2, **more: Any) -> dict[str, Any]:
    """Return a COCO file of images of 20x10 pixels, numbered from 1."""
    entries = [
        {"id": number, "file_name": f"{number}.png", "width": 20, "height": 10} for number in range(1, images + 1)
    ]
    return {"images": entries, "annotations": list(annotations), "categories": CATEGORIES, **more}


def write_coco(
    folder: Path, annotations: Sequence[Mapping[str, Any]], *, images: int = 2, part: str = "train", **more: Any
) -> Path:
    """Write one part of a COCO folder."""
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    content = coco_content(annotations, images, **more)
    (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
    for entry in content["images"]:
        if isinstance(entry, dict) and "file_name" in entry:
            picture(folder / part / entry["file_name"])
    return folder


def voc_object(name: str, box: Box, more: str = "") -> str:
    """Return one object of a Pascal VOC file: corners in places counted from 1."""
    edges = "".join(f"<{edge}>{value}</{edge}>" for edge, value in zip(("xmin", "ymin", "xmax", "ymax"), box))
    return f"<object><name>{name}</name>{more}<bndbox>{edges}</bndbox></object>"


def write_voc(folder: Path, parts: Mapping[str, Mapping[str, str]]) -> Path:
    """Write a folder in the layout of Pascal VOC: of every part its images with their objects."""
    for part, images in parts.items():
        lists = folder / "ImageSets" / "Main"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{part}.txt").write_text("".join(f"{name}\n" for name in images))
        for name, objects in images.items():
            picture(folder / "JPEGImages" / f"{name}.jpg")
            (folder / "Annotations").mkdir(exist_ok=True)
            size = "<size><width>20</width><height>10</height></size>"
            content = f"<annotation><filename>{name}.jpg</filename>{size}{objects}</annotation>"
            (folder / "Annotations" / f"{name}.xml").write_text(content)
    return folder


def write_yolo(folder: Path, labels: Mapping[str, str], yaml: str = "") -> Path:
    """Write a YOLO folder with training images of 20x10 pixels and what their label files hold; None for no file."""
    for name, content in labels.items():
        picture(folder / "images" / "train" / f"{name}.png")
        (folder / "labels" / "train").mkdir(parents=True, exist_ok=True)
        if content is not None:
            (folder / "labels" / "train" / f"{name}.txt").write_text(content)
    (folder / "data.yaml").write_text(yaml or "train: images/train\nnames: [cat, dog]\n")
    return folder


def write_masks(folder: Path, masks: Mapping[str, Any], part: str = "train") -> Path:
    """Write a part of a folder of masks: arrays of values (H, W) or of colors (H, W, 3), uint8."""
    for name, values in masks.items():
        mask = np.asarray(values, dtype=np.uint8)
        picture(folder / "images" / part / f"{name}.jpg", (mask.shape[1], mask.shape[0]))
        (folder / "masks" / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(folder / "masks" / part / f"{name}.png")
    return folder
