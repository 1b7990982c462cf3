"""Ways in which boxes are wrong or unusual."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from functools import partial
from typing import Any
from xml.sax.saxutils import escape

from experiments.benchmarks.chaos.made.kind import Apply, Kind, spare
from experiments.benchmarks.chaos.made.layouts import size_of, voc_file, yolo_file
from experiments.benchmarks.chaos.made.pictures import scene, simple
from experiments.benchmarks.chaos.made.plan import Box, Numbers, Plan, Rng, Sample

BOXED = ("coco", "voc", "yolo")
BOM = b"\xef\xbb\xbf"


def _boxed(plan: Plan, rng: Rng) -> Sample:
    return rng.choice([each for each in plan.samples if each.boxes and not each.is_bad])


def _partly_outside(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    sample = _boxed(plan, rng)
    height, width = size_of(sample)
    x, y = float(rng.randint(-9, width - 2)), float(rng.randint(-9, height - 2))
    edges = x, y, width + float(rng.randint(1, 99)), height + float(rng.randint(1, 99))
    sample.boxes.append(Box(rng.choice(plan.classes), edges, (max(x, 0.0), max(y, 0.0), float(width), float(height))))


def _wholly_outside(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    sample = _boxed(plan, rng)
    height, width = size_of(sample)
    edges = rng.choice(((-9.0, 1.0, -2.0, 5.0), (width + 1.0, 1.0, width + 5.0, 5.0), (1.0, height + 2.0, 5.0, 1e5)))
    sample.boxes.append(Box(rng.choice(plan.classes), edges, None))
    plan.left_out("no area", sample.role, os.path.basename(sample.path))


def _no_area(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    sample = _boxed(plan, rng)
    edges = rng.choice(((3.0, 3.0, 3.0, 9.0), (9.0, 2.0, 4.0, 8.0), (0.0, 0.0, 0.0, 0.0)))
    sample.boxes.append(Box(rng.choice(plan.classes), edges, None))
    plan.left_out("no area", sample.role, os.path.basename(sample.path))


def _twice(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    sample = _boxed(plan, rng)
    box = next((each for each in sample.boxes if each.kept is not None), None)
    if box is not None:
        sample.boxes.append(Box(box.label, box.edges, box.kept))
        plan.left_out("twice", sample.role, os.path.basename(sample.path))


def _not_finite(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    sample = _boxed(plan, rng)
    edges = rng.choice(((float("nan"), 1.0, 2.0, 3.0), (0.0, 0.0, float("inf"), 4.0)))
    sample.boxes.append(Box(rng.choice(plan.classes), edges, None))
    plan.refusals.append((os.path.basename(sample.path).rpartition(".")[0],))


def _crowd(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    sample = _boxed(plan, rng)
    height, width = size_of(sample)
    edges = 0.0, 0.0, float(width), float(height)
    more = {"iscrowd": 1, "segmentation": {"counts": [0, height * width], "size": [height, width]}}
    sample.boxes.append(Box(rng.choice(plan.classes), edges, edges, more))


def _absent(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    for sample in spare(plan, rng, rng.randint(1, 2)):
        sample.bad = True
        plan.absent.add(sample)


def _train_file(plan: Plan) -> str:
    return next(name for name in plan.documents if name.endswith(".json"))


def _edit(change: Callable[[Any, Plan, Rng], tuple[str, ...] | None]) -> Apply:
    """Return a way that changes the content of the training part's file; it says what is to be named."""

    def apply(plan: Plan, rng: Rng, numbers: Numbers) -> None:
        file = _train_file(plan)
        again = random.Random(rng.random())

        def edit(content: Any) -> Any:
            change(content, plan, again)
            return content

        plan.edits.append((file, edit))
        words = change(None, plan, rng)
        if words is not None:
            plan.refusals.append((os.path.basename(file), *words))

    return apply


def _spoiled_annotation(key: str, *values: Any) -> Apply:
    def change(content: Any, plan: Plan, rng: Rng) -> tuple[str, ...] | None:
        if content is not None:
            each = rng.choice(content["annotations"])
            value = rng.choice(values)
            if value == "gone":
                del each[key]
            else:
                each[key] = value
        return (
            (key.removesuffix("_id") if key == "category_id" else "box",) if key == "category_id" else ("annotation",)
        )

    return _edit(change)


def _same_image_ids(content: Any, plan: Plan, rng: Rng) -> tuple[str, ...] | None:
    if content is not None:
        content["images"][1]["id"] = content["images"][0]["id"]
    return ("id",)


def _same_annotation_ids(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    def edit(content: Any) -> Any:
        content["annotations"][1]["id"] = content["annotations"][0]["id"]
        return content

    plan.edits.append((_train_file(plan), edit))
    plan.left_out("same ids", "train", os.path.basename(_train_file(plan)))


def _unlisted_annotations(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    number = rng.choice((10_000, "1", None))

    def edit(content: Any) -> Any:
        content["annotations"].append({**content["annotations"][0], "id": 5000, "image_id": number})
        return content

    plan.edits.append((_train_file(plan), edit))
    plan.left_out("unlisted", "train", "annotation 5000")


def _no_sizes(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    def edit(content: Any) -> Any:
        for each in content["images"]:
            each.pop("width")
        return content

    plan.edits.append((_train_file(plan), edit))


def _other_sizes(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    file = _train_file(plan)
    for sample in spare(plan, rng, 1):
        if sample.role != "train" or sample.picture.shown is None:
            continue
        sample.bad = True
        place = plan.of("train").index(sample)

        def edit(content: Any, place: int = place) -> Any:
            content["images"][place]["width"] += 5
            return content

        plan.edits.append((file, edit))


def _unlisted_images(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    plan.files[f"{plan.parts['train']}/unlisted.png"] = simple(scene(numbers, 9, 9)).content
    plan.left_out("unlisted images", "train", "unlisted.png")


def _category_twice(content: Any, plan: Plan, rng: Rng) -> tuple[str, ...] | None:
    if content is not None:
        content["categories"].append({"id": 95, "name": plan.classes[0]})
    return (plan.classes[0],)


def _damaged_json(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    file, share, how = _train_file(plan), rng.uniform(0.01, 0.95), rng.randrange(5)
    ways: tuple[Callable[[bytes], bytes], ...] = (
        lambda content: content[: int(len(content) * share)],
        lambda content: b"",
        lambda content: json.dumps(json.loads(content)["images"]).encode(),
        lambda content: content.decode().encode("utf-16"),
        lambda content: b"[" * 100_000,
    )
    plan.raw.append((file, ways[how]))
    plan.refusals.append((os.path.basename(file),))


def _marked(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    """Write a mark of Windows before the text of annotations, and its ends of lines."""
    for name in [*plan.documents]:
        if name.endswith((".txt", ".json", ".yaml")) and rng.random() < 0.7:
            plan.raw.append((name, lambda content: BOM + content.replace(b"\n", b"\r\n")))


def _damaged_xml(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    file, how = voc_file(rng.choice(plan.of("train"))), rng.randrange(4)
    ways: tuple[Callable[[bytes], bytes], ...] = (
        lambda content: content[:-15],
        lambda content: b"",
        lambda content: content.replace(b"</annotation>", b"<object><name>cat</name></object></annotation>"),
        lambda content: content.replace(
            b"</annotation>",
            b"<object><name>dog</name><bndbox><xmin>1,5</xmin><ymin>1</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>"
            b"</object></annotation>",
        ),
    )
    plan.raw.append((file, ways[how]))
    plan.refusals.append((os.path.basename(file).removesuffix(".xml"),))


def _missing_xml(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    file = voc_file(rng.choice(plan.samples))
    plan.documents.pop(file, None)
    plan.raw = [(name, edit) for name, edit in plan.raw if name != file]
    plan.refusals.append((os.path.basename(file),))


def _unknown_in_test(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    file = voc_file(rng.choice(plan.of("test")))
    box = b"<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>"
    more = b"<object><name>unicorn</name>" + box + b"</object></annotation>"
    plan.raw.append((file, lambda content: content.replace(b"</annotation>", more)))
    plan.refusals.append(("unicorn", os.path.basename(file).removesuffix(".xml")))


def _replaced(old: bytes, new: bytes, content: bytes) -> bytes:
    return content.replace(old, new)


def _odd_xml(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    """Write what some tools write: parts of objects, sizes of zero, no names of files."""
    for sample in rng.sample(plan.samples, rng.randint(1, 4)):
        how = rng.randrange(3)
        part = (
            b"<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
        )
        name = f"<filename>{escape(os.path.basename(sample.path))}</filename>".encode()
        if sample.picture.ending not in (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG", ".bmp"):
            how = 0
        ways: tuple[Callable[[bytes], bytes], ...] = (
            partial(_replaced, b"</object>", part + b"</object>"),
            lambda content: content.replace(b"<width>", b"<width>0</width><old>").replace(b"</width><h", b"</old><h"),
            partial(_replaced, name, b""),
        )
        if how == 0 or not sample.is_bad:
            plan.raw.append((voc_file(sample), ways[how]))


def _damaged_lines(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    sample = rng.choice([each for each in plan.samples if yolo_file(each) in plan.documents and not each.is_bad])
    lines: tuple[bytes, ...] = (
        b"cat 0.5 0.5 0.1 0.1\n",
        b"99 0.5 0.5 0.1 0.1\n",
        b"-1 0.5 0.5 0.1 0.1\n",
        b"0 0.5 0.5 0.1\n",
        b"\0\0\0\n",
    )
    lines += (b"0 0.5 0.5 0.1 0.1 0.9\n", b"0 nan 0.5 0.1 0.1\n", b"0.5 0.5 0.5 0.1 0.1\n", b"0 0.5 0.5 1e999 0.1\n")
    lines += (b"0,0.5,0.5,0.1,0.1\n", b"\xff\xfe0\n")
    line = rng.choice(lines)
    plan.raw.append((yolo_file(sample), lambda content: content + line))
    plan.refusals.append((os.path.basename(sample.path).rpartition(".")[0],))


def _damaged_yaml(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    texts: tuple[bytes, ...] = (
        b"",
        b"- a\n",
        b"train: images/train\n",
        b"train: nowhere\nnames: [a, b]\n",
        b"{{{",
        b"\xff\xfe",
        b"names: 3\n",
    )
    texts += (b"train: images/train\nnames: {1: a, 2: b}\n", b"train: [1, {a: b}]\nnames: [a]\n")
    text = rng.choice(texts)
    plan.raw.append(("data.yaml", lambda content: text))
    plan.refusals.append(("data.yaml",))


def _without_images(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    plan.files["labels/train/gone.txt"] = b"0 0.5 0.5 0.1 0.1\n"
    plan.left_out("labels without images", "train", "gone.txt")


KINDS: dict[str, Kind] = {
    "boxes partly outside": Kind(BOXED, _partly_outside),
    "boxes outside": Kind(BOXED, _wholly_outside),
    "boxes without area": Kind(BOXED, _no_area),
    "boxes twice": Kind(BOXED, _twice),
    "boxes not finite": Kind(("coco",), _not_finite, 1),
    "crowds": Kind(("coco",), _crowd),
    "listed images that are absent": Kind(("coco", "voc"), _absent),
    "category unknown": Kind(("coco",), _spoiled_annotation("category_id", 999, None, "cat", [1], {"a": 1}), 1),
    "box is none": Kind(("coco",), _spoiled_annotation("bbox", None, [1, 2, 3], ["1", "2", "3", "4"], {}, "gone"), 1),
    "image ids twice": Kind(("coco",), _edit(_same_image_ids), 1),
    "annotation ids twice": Kind(("coco",), _same_annotation_ids),
    "annotations of no image": Kind(("coco",), _unlisted_annotations),
    "no sizes": Kind(("coco",), _no_sizes),
    "other sizes": Kind(("coco",), _other_sizes),
    "unlisted images": Kind(("coco",), _unlisted_images),
    "category twice": Kind(("coco",), _edit(_category_twice), 1),
    "odd XML": Kind(("voc",), _odd_xml),
    "marked text": Kind((*BOXED, "masks", "masks of colors"), _marked, 3),
    "damaged JSON": Kind(("coco",), _damaged_json, 1),
    "damaged XML": Kind(("voc",), _damaged_xml, 1),
    "no XML": Kind(("voc",), _missing_xml, 1),
    "unknown class in test": Kind(("voc",), _unknown_in_test, 1),
    "labels without images": Kind(("yolo",), _without_images, 1),
    "damaged lines": Kind(("yolo",), _damaged_lines, 2),
    "damaged YAML": Kind(("yolo",), _damaged_yaml, 1),
}
"""Ways by name, in the order in which they are applied."""
