"""One of COCO's JSON files, read once in a process: what boxes need of it, in little memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasvit.data.box_list import Object
from nasvit.data.stores import Indices, Names
from search_spaces.files import read_file

UNLISTED_IMAGES = "annotations of images that are not listed (left out)"
SAME_IDS = "annotations with an id that another one has (kept)"

Content = dict[str, list[Any]]
"""What a COCO file holds: lists of images, annotations and categories."""

_LISTS = ("images", "annotations", "categories")


@dataclass(frozen=True, eq=False)
class CocoFile:
    """The images, boxes and categories of a file; the boxes of one image lie behind those of the image before it.

    Args:
        categories: id and name of every category, in the file's order.
        images: the name of every image.
        sizes: height and width of every image; None: the file does not say it.
        starts: int64 (N + 1,), the first box of every image, and the number of boxes.
        boxes: float64 (M, 4): x1, y1, x2, y2.
        areas: float64 (M,), the annotation's own area; not a number where it has none.
        crowd: bool (M,), whether the box is around a crowd.
        places: int64 (M,), the category of every box, as its place among the categories.
        names: what to call every annotation before a user.
        oddities: kind and place of everything that is odd and stops nobody.
    """

    categories: tuple[tuple[Any, str], ...]
    images: Names
    sizes: tuple[tuple[int, int] | None, ...]
    starts: Indices
    boxes: npt.NDArray[np.float64]
    areas: npt.NDArray[np.float64]
    crowd: npt.NDArray[np.bool_]
    places: Indices
    names: Names
    oddities: tuple[tuple[str, str], ...]

    def objects(self, image: int, labels: Mapping[str, int]) -> list[Object]:
        """Return the boxes of one image.

        Args:
            image: its number.
            labels: the class index of every name of a category; others get -1.
        """
        return [self._object(each, labels) for each in range(*self.starts[image : image + 2].tolist())]

    def _object(self, number: int, labels: Mapping[str, int]) -> Object:
        x1, y1, x2, y2 = self.boxes[number].tolist()
        area = float(self.areas[number])
        label = labels.get(self.categories[self.places[number]][1], -1)
        return Object(
            label, (x1, y1, x2, y2), None if area != area else area, bool(self.crowd[number]), self.names[number]
        )


class _Annotation(NamedTuple):
    image: Any
    category: int
    box: tuple[float, float, float, float]
    area: float
    crowd: bool
    name: str


def read_coco(path: Path) -> CocoFile:
    """Read a file, or return what was read of it in this process, if it did not change.

    Raises:
        ValueError: naming the file and what is wrong in it.
    """
    found = path.stat()
    return _read(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, changed: int, size: int) -> CocoFile:
    content = _content(path)
    categories = _categories(content, path)
    numbers = {_value(each, "id", path, "an image"): place for place, each in enumerate(content["images"])}
    if len(numbers) < len(content["images"]):
        raise ValueError(f"{path}: two images have one id; ids must differ")
    oddities: list[tuple[str, str]] = []
    places = {each: place for place, each in enumerate(categories)}
    found = sorted(_listed(_annotations(content["annotations"], path, places, oddities), numbers, path, oddities))
    known = [each for _, _, each in found]
    counts = np.bincount(np.array([number for number, _, _ in found], dtype=np.int64), minlength=len(numbers))
    return CocoFile(
        tuple(categories.items()),
        Names(str(_value(each, "file_name", path, "an image")) for each in content["images"]),
        tuple(map(_size, content["images"])),
        np.concatenate([[0], counts.cumsum()]),
        np.array([each.box for each in known], dtype=np.float64).reshape(-1, 4),
        np.array([each.area for each in known], dtype=np.float64),
        np.array([each.crowd for each in known], dtype=np.bool_),
        np.array([each.category for each in known], dtype=np.int64),
        Names(each.name for each in known),
        tuple(oddities),
    )


def _content(path: Path) -> Content:
    try:
        content = json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no COCO file: no JSON ({error})") from error
    if not isinstance(content, dict):
        what = f"a JSON {'list' if isinstance(content, list) else type(content).__name__}"
    else:
        missing = [name for name in _LISTS if not isinstance(content.get(name), list)]
        what = f"it has no list {' and no list '.join(missing)}, but {', '.join(content) or 'nothing'}"
        what = what if missing else ""
    if what:
        raise ValueError(f"{path}: no COCO file: {what}; needed is an object with the lists {', '.join(_LISTS)}")
    found: Content = content
    return found


def _categories(content: Content, path: Path) -> dict[Any, str]:
    """Return the name of every category by its id, in the file's order."""
    names = {
        _value(each, "id", path, "a category"): _value(each, "name", path, "a category")
        for each in content["categories"]
    }
    if not names:
        raise ValueError(f"{path}: it lists no categories")
    return {number: str(name) for number, name in names.items()}


def _value(entry: Any, key: str, path: Path, what: str) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise ValueError(f"{path}: {what} has no {key!r}: {str(entry)[:100]}")
    if key.endswith("id") and isinstance(entry[key], (list, dict)):
        raise ValueError(f"{path}: {what} has the {key!r} {str(entry[key])[:100]}; needed is a number, or a text")
    return entry[key]


def _size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = entry.get("height"), entry.get("width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0 else None


def _listed(
    annotations: Iterator[_Annotation], numbers: Mapping[Any, int], path: Path, oddities: list[tuple[str, str]]
) -> Iterator[tuple[int, int, _Annotation]]:
    """Yield the number of the image, the place and the annotation where the image is listed."""
    for place, each in enumerate(annotations):
        if each.image in numbers:
            yield numbers[each.image], place, each
        else:
            oddities.append((UNLISTED_IMAGES, f"{each.name} of image {each.image} in {path.name}"))


def _annotations(
    entries: list[Any], path: Path, categories: Mapping[Any, int], oddities: list[tuple[str, str]]
) -> Iterator[_Annotation]:
    ids = set()
    for place, each in enumerate(entries):
        name = f"annotation {each['id']}" if isinstance(each, dict) and "id" in each else f"annotation number {place}"
        image, category, box = (_value(each, key, path, name) for key in ("image_id", "category_id", "bbox"))
        if category not in categories:
            raise ValueError(f"{path}: {name} of image {image} has the category id {category!r}, which is not listed")
        if not (isinstance(box, list) and len(box) == 4 and all(isinstance(edge, (int, float)) for edge in box)):
            raise ValueError(
                f"{path}: {name} of image {image} has the box {box!r}; needed are four numbers: x, y, w, h"
            )
        if each.get("id", name) in ids:
            oddities.append((SAME_IDS, f"{name} in {path.name}"))
        ids.add(each.get("id", name))
        x, y, width, height = box
        area = each.get("area")
        known = float(area) if isinstance(area, (int, float)) else float("nan")
        yield _Annotation(
            image, categories[category], (x, y, x + width, y + height), known, bool(each.get("iscrowd")), name
        )
