"""Right folders of every layout that is read, to be spoiled."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

from experiments.benchmarks.chaos.made.pictures import encoded, scene, simple
from experiments.benchmarks.chaos.made.plan import ROLES, Box, Plan, Role, Sample

_NAMES = ("cat", "dog", "Ente", "maus 2", "zebra")
_CALLED = (("train", "val"), ("train", "test"), ("Train", "Test"), ("TRAIN", "VAL"), ("training", "validation"))
_ALSO = (("seg_train/seg_train", "seg_test/seg_test"), ("train_images", "valid_images"), ("trainset", "testset"))
_LEAST, _MOST = 8, 11  # images of a class in the training part
_SIDES = 12, 40

Make = Callable[[random.Random, np.random.Generator], Plan]


def _picture(rng: random.Random, numbers: np.random.Generator) -> Any:
    height, width = (int(each) for each in numbers.integers(*_SIDES, 2))
    return simple(scene(numbers, height, width), rng.choice((".png", ".jpg")))


def _classes(rng: random.Random) -> list[str]:
    return sorted(rng.sample(_NAMES, rng.randint(2, 4)))


def _fill(plan: Plan, rng: random.Random, numbers: np.random.Generator, *, least: int = _LEAST) -> Plan:
    """Add the images of every class."""
    for role in ROLES if plan.parts or plan.archives.keys() == {*ROLES} else ROLES[:1]:
        for label in plan.classes:
            for index in range(rng.randint(least, _MOST) if role == "train" else rng.randint(2, 4)):
                picture = _picture(rng, numbers)
                path = f"{plan.place(role, label)}/{index:03d}{picture.ending}"
                plan.samples.append(Sample(role, label, path, picture))
    return plan


def _in_parts(rng: random.Random, numbers: np.random.Generator) -> Plan:
    train, test = rng.choice(_CALLED + _ALSO)
    return _fill(Plan("parts", "{}", {"train": train, "test": test}, _classes(rng)), rng, numbers)


def _in_classes(rng: random.Random, numbers: np.random.Generator) -> Plan:
    return _fill(Plan("classes", "{}", {}, _classes(rng)), rng, numbers)


def _in_a_tar(rng: random.Random, numbers: np.random.Generator) -> Plan:
    plan = Plan("tar", "{}/all.tar", {}, _classes(rng), archives={"train": "all.tar"})
    above = rng.choice(("", "./", "data/", "a/b/"))
    _fill(plan, rng, numbers)
    for each in plan.samples:
        each.path = above + each.path
    return plan


def _in_tars(rng: random.Random, numbers: np.random.Generator) -> Plan:
    train, test = rng.choice((("train", "val"), ("train", "test"), ("training", "validation")))
    archives: dict[Role, str] = {"train": f"{train}.tar", "test": f"{test}.tar"}
    return _fill(Plan("tar parts", "{}", {}, _classes(rng), archives=archives), rng, numbers)


def _in_shards(rng: random.Random, numbers: np.random.Generator) -> Plan:
    """Return samples as WebDataset lays them out: the class index beside every image."""
    plan = Plan("tar labels", "{}", {}, [str(each) for each in range(rng.randint(2, 4))])
    plan.archives = {"train": "train-000.tar", "test": "val-000.tar"}
    _fill(plan, rng, numbers)
    for number, each in enumerate(plan.samples):
        each.path, each.beside = f"{number:06d}{each.picture.ending}", each.label.encode()
    return plan


def _boxes(rng: random.Random, classes: list[str], height: int, width: int) -> list[Box]:
    found = []
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        x1, y1 = rng.randint(0, width - 4), rng.randint(0, height - 4)
        edges = float(x1), float(y1), float(rng.randint(x1 + 2, width)), float(rng.randint(y1 + 2, height))
        found.append(Box(rng.choice(classes), edges, edges))
    return found


def _fill_boxes(plan: Plan, rng: random.Random, numbers: np.random.Generator) -> Plan:
    for role in ROLES:
        for index in range(rng.randint(8, 12) if role == "train" else rng.randint(3, 5)):
            picture = _picture(rng, numbers)
            boxes = _boxes(rng, plan.classes, *picture.shown.shape[:2])
            if role == "train" and index < len(plan.classes):  # so that every class is there
                boxes.append(Box(plan.classes[index], (1.0, 2.0, 9.0, 10.0), (1.0, 2.0, 9.0, 10.0)))
            path = f"{plan.place(role)}/{role}{index:03d}{picture.ending}"
            plan.samples.append(Sample(role, "", path, picture, boxes))
    return plan


def _coco(rng: random.Random, numbers: np.random.Generator) -> Plan:
    train, test = rng.choice((("train", "val"), ("train2017", "val2017"), ("images/train", "images/val")))
    plan = Plan("coco", "coco:{}", {"train": train, "test": test}, rng.sample(_NAMES, rng.randint(1, 3)))
    files: dict[Role, str] = {role: f"annotations/instances_{plan.parts[role].split('/')[-1]}.json" for role in ROLES}
    if rng.random() < 0.3:
        plan.parts = {"train": "train", "test": rng.choice(("valid", "test"))}
        files = {role: f"{plan.parts[role]}/_annotations.coco.json" for role in ROLES}
    ids = rng.sample(range(0, 90), len(plan.classes))
    for role in ROLES:
        plan.documents[files[role]] = lambda plan, role=role: _coco_document(plan, role, ids)  # type: ignore[misc]
    return _fill_boxes(plan, rng, numbers)


def _coco_document(plan: Plan, role: Role, ids: list[int]) -> bytes:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, each in enumerate(plan.of(role)):
        name = each.path.removeprefix(f"{plan.parts[role]}/")
        images.append({"id": number, "file_name": name} | dict(zip(("height", "width"), size_of(each))))
        for box in each.boxes:
            x1, y1, x2, y2 = box.edges
            annotations.append(
                {"id": len(annotations), "image_id": number, "category_id": ids[plan.classes.index(box.label)]}
                | {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0, **box.more}
            )
    categories = [{"id": number, "name": name} for number, name in zip(ids, plan.classes)]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories}).encode()


def size_of(sample: Sample) -> tuple[int, int]:
    """Return height and width that annotations say."""
    return (20, 30) if sample.picture.shown is None else sample.picture.shown.shape[:2]


def _voc(rng: random.Random, numbers: np.random.Generator) -> Plan:
    classes = _classes(rng)
    plan = Plan("voc", "voc:{}", {"train": "JPEGImages", "test": "JPEGImages"}, classes)
    lists: dict[Role, str] = {"train": rng.choice(("train", "trainval")), "test": rng.choice(("test", "val"))}
    if lists["train"] == "trainval":
        lists["test"] = "test"
    for role in ROLES:
        plan.documents[f"ImageSets/Main/{lists[role]}.txt"] = lambda plan, role=role: _voc_list(plan, role)  # type: ignore[misc]
    _fill_boxes(plan, rng, numbers)
    for each in plan.samples:
        plan.documents[voc_file(each)] = lambda plan, each=each: _voc_document(each)  # type: ignore[misc]
    return plan


def voc_file(sample: Sample) -> str:
    """Return where the annotations of an image are."""
    return f"Annotations/{_stem(sample)}.xml"


def _stem(sample: Sample) -> str:
    return sample.path.rpartition("/")[2].rpartition(".")[0]


def _voc_list(plan: Plan, role: Role) -> bytes:
    return "".join(f"{_stem(each)}\n" for each in plan.of(role)).encode()


def _voc_document(sample: Sample) -> bytes:
    objects = ""
    for box in sample.boxes:
        x1, y1, x2, y2 = box.edges
        edges = zip(("xmin", "ymin", "xmax", "ymax"), (x1 + 1, y1 + 1, x2, y2))
        told = "".join(f"<{name}>{value:g}</{name}>" for name, value in edges)
        objects += f"<object><name>{box.label}</name><difficult>0</difficult><bndbox>{told}</bndbox></object>"
    height, width = size_of(sample)
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    name = f"<filename>{escape(sample.path.rpartition('/')[2])}</filename>"
    return f"<annotation>{name}{size}{objects}</annotation>".encode()


def _yolo(rng: random.Random, numbers: np.random.Generator) -> Plan:
    plan = Plan(
        "yolo", "yolo:{}", {"train": "images/train", "test": "images/val"}, rng.sample(_NAMES, rng.randint(1, 3))
    )
    names = "\n".join(f"  {number}: {name}" for number, name in enumerate(plan.classes))
    text = f"path: .\ntrain: images/train\nval: images/val\nnames:\n{names}\n"
    plan.documents["data.yaml"] = lambda plan: text.encode()
    _fill_boxes(plan, rng, numbers)
    for each in plan.samples:
        if each.boxes or rng.random() < 0.5:  # an image without boxes may have no file
            plan.documents[yolo_file(each)] = lambda plan, each=each: _yolo_document(plan, each)  # type: ignore[misc]
    return plan


def yolo_file(sample: Sample) -> str:
    """Return where the labels of an image are."""
    return f"{sample.path.rpartition('.')[0].replace('images/', 'labels/', 1)}.txt"


def _yolo_document(plan: Plan, sample: Sample) -> bytes:
    height, width = size_of(sample)
    lines = []
    for box in sample.boxes:
        x1, y1, x2, y2 = box.edges
        numbers = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
        lines.append(" ".join(map(str, (plan.classes.index(box.label), *numbers))))
    return "".join(f"{line}\n" for line in lines).encode()


def _masks(rng: random.Random, numbers: np.random.Generator) -> Plan:
    """Return images with masks of numbers."""
    train, test = rng.choice((("train", "val"), ("train", "test"), ("Train", "Val")))
    plan = Plan("masks", "masks:{}", {"train": f"images/{train}", "test": f"images/{test}"}, [])
    plan.classes = ["0", "1", "2"]
    if rng.random() < 0.5:
        plan.classes = ["road", "Gehsteig", "tree 2"]
        plan.documents["classes.txt"] = lambda plan: "".join(f"{name}\n" for name in plan.classes).encode()
    for role in ROLES:
        for index in range(rng.randint(8, 12) if role == "train" else rng.randint(3, 5)):
            picture = _picture(rng, numbers)
            path = f"{plan.place(role)}/{index:03d}{picture.ending}"
            mask = _mask(numbers, *picture.shown.shape[:2])
            sample = Sample(role, "", path, picture, mask=mask)
            plan.samples.append(sample)
            plan.documents[mask_file(sample)] = lambda plan, sample=sample: mask_content(plan, sample)  # type: ignore[misc]
    return plan


def _mask(numbers: np.random.Generator, height: int, width: int) -> Any:
    mask = np.full((height, width), numbers.integers(0, 3), np.uint8)
    mask[: height // 2, : width // 2] = numbers.integers(0, 3)
    mask[-2:] = (0, 1, 2, 255)[int(numbers.integers(4))]
    mask[0, :3] = 0, 1, 2  # so that every class is in every mask
    return mask


def mask_file(sample: Sample) -> str:
    """Return where the mask of an image is."""
    return f"{sample.path.rpartition('.')[0].replace('images/', 'masks/', 1)}.png"


def mask_content(plan: Plan, sample: Sample) -> bytes:
    """Return an encoded mask."""
    assert sample.mask is not None
    if not plan.palette:
        return encoded(Image.fromarray(sample.mask), "PNG")
    colors = np.zeros((256, 3), np.uint8)
    for value, color in plan.palette.items():
        colors[value] = color
    return encoded(Image.fromarray(colors[sample.mask]), "PNG")


def _colored(rng: random.Random, numbers: np.random.Generator) -> Plan:
    """Return images with masks of colors."""
    plan = replace(_masks(rng, numbers), layout="masks of colors", classes=["road", "Gehsteig", "tree 2"])
    drawn = [tuple(rng.randrange(256) for _ in range(3)) for _ in range(3)]
    plan.palette = {**dict(enumerate(drawn)), 255: (1, 2, 3)}  # type: ignore[arg-type]
    names = [*plan.classes, "void"]
    lines = [" ".join(map(str, (*plan.palette[value], name))) for value, name in zip((0, 1, 2, 255), names)]
    plan.documents["classes.txt"] = lambda plan: ("\n".join(lines) + "\n").encode()
    return plan


LAYOUTS: dict[str, tuple[Make, int]] = {
    "parts": (_in_parts, 8),
    "classes": (_in_classes, 6),
    "tar": (_in_a_tar, 3),
    "tar parts": (_in_tars, 2),
    "tar labels": (_in_shards, 2),
    "coco": (_coco, 4),
    "voc": (_voc, 3),
    "yolo": (_yolo, 3),
    "masks": (_masks, 3),
    "masks of colors": (_colored, 2),
}
"""How to make each layout, and how often it is drawn."""
