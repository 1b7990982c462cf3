"""Boxes in the text files of YOLO: a line of class, center and size for each, as shares of the image's sides."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from nasvit.data.box_list import BoxSource, Object, Picture, below, header_size
from nasvit.data.class_names import Classes
from nasvit.data.remarks import Remarks
from nasvit.data.walking import images_below
from search_spaces.files import read_file

_PARTS = ("train", "val", "test")
_COLUMNS = 5


def yolo_source(path: Path) -> BoxSource:
    """Find the parts of a data set that a YAML file describes.

    Args:
        path: the file, or a folder with ``data.yaml``.

    Raises:
        ValueError: naming what is missing or wrong.
    """
    file = path / "data.yaml" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"yolo:{path}: there is no {file}")
    try:
        content = yaml.safe_load(read_file(file))
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: no YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict) or not content.get("train") or not content.get("names"):
        raise ValueError(f"{file}: needs the keys train and names")
    names = content["names"]
    if not isinstance(names, (dict, list)):
        raise ValueError(f"{file}: its names are {names!r}; needed is a list of them, or numbers with names")
    numbers = sorted(names) if isinstance(names, dict) else range(len(names))
    if list(numbers) != list(range(len(names))):
        raise ValueError(f"{file}: its names have the numbers {list(numbers)}; needed are those from 0 up")
    classes = tuple(str(names[number]) for number in numbers)
    parts = {
        part: partial(_pictures, file.parent, _places(file, content, part), len(classes))
        for part in _PARTS
        if content.get(part)
    }
    return BoxSource(file.parent, classes, parts, f"YOLO annotations {file.parent.name}")


def _places(file: Path, content: Mapping[str, Any], part: str) -> list[Path]:
    entries = content[part] if isinstance(content[part], list) else [content[part]]
    return [_place(file, content, str(entry)) for entry in entries]


def _place(file: Path, content: Mapping[str, Any], entry: str) -> Path:
    roots = [file.parent / str(content.get("path") or ""), file.parent]
    # Files of some exporters are written as if the YAML file lay one folder further down.
    tried = [root / each for root in roots for each in (entry, entry.removeprefix("../"))]
    found = next((path for path in tried if path.exists()), None)
    if found is None:
        raise ValueError(f"{file}: there is no {entry}, below {' or '.join(sorted({str(root) for root in roots}))}")
    return found


def _pictures(folder: Path, places: list[Path], classes: int, remarks: Remarks, rule: Classes) -> list[Picture]:
    images = [path for place in places for path in _images(place)]
    _remark_unused(places, {*map(_labels, images)}, remarks)
    return [_picture(folder, path, classes) for path in images]


def _remark_unused(places: list[Path], used: set[Path], remarks: Remarks) -> None:
    """Note labels that lie in a folder of their own, and have no image."""
    for place in places:
        labels = _labels(place / "any").parent
        if place.is_dir() and labels != place and labels.is_dir():
            for path in sorted({*labels.rglob("*.txt")} - used):
                remarks.add("label files without an image (left out)", str(path))


def _images(place: Path) -> list[Path]:
    if place.is_dir():
        return sorted(place / each for each in images_below(place))
    lines = [line.strip() for line in read_file(place).splitlines()]
    return [place.parent / line for line in lines if line]


def _picture(folder: Path, path: Path, classes: int) -> Picture:
    try:
        size = header_size(str(path))
    except Exception:  # what decoders raise for broken files is of every kind; said when the files are measured
        return Picture(below(folder, path), None, [])
    labels = _labels(path)
    lines = read_file(labels).splitlines() if labels.is_file() else []
    objects = [_object(line, size, classes, f"{labels}, line {at}") for at, line in enumerate(lines, 1) if line.strip()]
    return Picture(below(folder, path), size, objects)


def _labels(path: Path) -> Path:
    """Return the file of an image's boxes: in ``labels`` where it lies in ``images``, else beside it."""
    before, found, after = str(path.with_suffix(".txt")).rpartition(f"{os.sep}images{os.sep}")
    return Path(f"{before}{os.sep}labels{os.sep}{after}") if found else path.with_suffix(".txt")


def _object(line: str, size: tuple[int, int], classes: int, where: str) -> Object:
    try:
        label, *edges = map(float, line.split())
    except ValueError as error:
        raise ValueError(f"{where}: {line!r} holds what is no number") from error
    if len(edges) != _COLUMNS - 1:
        raise ValueError(
            f"{where}: has {len(edges) + 1} numbers; needed are {_COLUMNS}: class, center x, y, width, height"
        )
    if label not in range(classes):
        raise ValueError(f"{where}: has the class {label:g}; the names are those of 0 to {classes - 1}")
    x, y, width, height = (each * side for each, side in zip(edges, (size[1], size[0]) * 2))
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return Object(int(label), box, None, False, os.path.basename(where))
