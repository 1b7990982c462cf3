"""Boxes in the XML files of Pascal VOC.

Objects that are marked ``difficult`` are ordinary ones, which are learned and judged as all others, as most conversions
of Pascal VOC to COCO's files keep them. They are no crowds: COCO's rules would forgive any number of detections inside
of them. Pascal VOC itself judges them neither way, which COCO's matching cannot; its own scores are higher for that.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from nasvit.data.box_list import OTHER_CLASSES, BoxSource, Object, Picture, below
from nasvit.data.class_names import WAY_OUT, Classes
from nasvit.data.remarks import Remarks
from search_spaces.files import read_file

_LISTS = {"train": ("train", "trainval"), "val": ("val",), "test": ("test",)}
_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG", ".bmp")

_MEANT = re.compile(r"\s+[-+]?[01]$")

Element = ElementTree.Element


def voc_source(folder: Path) -> BoxSource:
    """Find the parts of a folder in the layout of Pascal VOC; its classes are those of the training part, sorted.

    Args:
        folder: it has ``JPEGImages``, ``Annotations`` and ``ImageSets/Main/train.txt``.

    Raises:
        ValueError: naming what is missing or wrong.
    """
    lists = folder / "ImageSets" / "Main"
    files = {
        part: path
        for part, names in _LISTS.items()
        if (path := next((lists / f"{name}.txt" for name in names if (lists / f"{name}.txt").is_file()), None))
    }
    if "train" not in files or not (folder / "JPEGImages").is_dir():
        raise ValueError(f"voc:{folder}: there is no JPEGImages, or no ImageSets/Main/train.txt in it")
    if files["train"].stem == "trainval":
        files.pop("val", None)
    trees = [_read(folder, name) for name in _names(files["train"])]
    classes = tuple(sorted({_text(each, "name", "?") for tree in trees for each in tree.iter("object")}))
    if not classes:
        raise ValueError(f"voc:{folder}: there is no object in the annotations of its training images")
    number = {name: index for index, name in enumerate(classes)}
    parts = {part: partial(_pictures, folder, file, number) for part, file in files.items()}
    return BoxSource(folder, classes, parts, f"Pascal VOC annotations {folder.name}")


def _names(file: Path) -> list[str]:
    """Return the images of a list; behind a name there may be a number that says how it is meant for one class."""
    annotations = file.parents[2] / "Annotations"
    return [_name(line.strip(), annotations) for line in read_file(file).splitlines() if line.strip()]


def _name(line: str, annotations: Path) -> str:
    """Return the name in a line; there may be spaces in it."""
    if len(line.split()) == 1 or (annotations / f"{line}.xml").is_file():
        return line
    return _MEANT.sub("", line)


def _read(folder: Path, name: str) -> Element:
    path = folder / "Annotations" / f"{name}.xml"
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise ValueError(f"{path}: {reason}; every listed image needs its annotations") from error


def _pictures(folder: Path, file: Path, number: Mapping[str, int], remarks: Remarks, rule: Classes) -> list[Picture]:
    return [_picture(folder, name, number, remarks, rule) for name in _names(file)]


def _picture(folder: Path, name: str, number: Mapping[str, int], remarks: Remarks, rule: Classes) -> Picture:
    tree = _read(folder, name)
    images = folder / "JPEGImages"
    choices = [images / _text(tree, "filename", f"{name}.jpg"), *(images / f"{name}{suffix}" for suffix in _SUFFIXES)]
    path = next((each for each in choices if each.is_file()), choices[0])
    objects = list[Object]()
    for place, each in enumerate(tree.iter("object"), 1):
        named = f"object {place} in {name}.xml"
        if rule == "from train" and _text(each, "name", "") not in number:
            remarks.add(OTHER_CLASSES, named)
        else:
            objects.append(_object(each, number, named))
    height, width = (_number(tree, f"size/{side}") for side in ("height", "width"))
    known = (int(height), int(width)) if height and width else None  # some tools write zeros
    return Picture(below(folder, path), known, objects)


def _object(found: Element, number: Mapping[str, int], name: str) -> Object:
    label = _text(found, "name", "")
    if label not in number:
        known = f"is not one of the training part's: {', '.join(number)}; rename it, {WAY_OUT}"
        raise ValueError(f"{name}: the class {label!r} {known}")
    edges = [_number(found, f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")]
    if any(edge is None for edge in edges):
        raise ValueError(f"{name}: its bndbox needs the numbers xmin, ymin, xmax and ymax")
    x1, y1, x2, y2 = (edge or 0.0 for edge in edges)
    # Places are counted from 1, and the last row and column belong to the box.
    return Object(number[label], (x1 - 1, y1 - 1, x2, y2), None, False, name)


def _text(found: Element, path: str, default: str) -> str:
    return (found.findtext(path) or default).strip()


def _number(found: Element, path: str) -> float | None:
    try:
        return float(_text(found, path, ""))
    except ValueError:
        return None
