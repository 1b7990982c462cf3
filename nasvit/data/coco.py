"""Boxes in COCO's JSON files."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nasvit.data.box_list import BoxSource, Object, Picture, Remarks, below

NAMES = {"train": ("train",), "test": ("test",), "val": ("val", "valid", "validation")}
"""Names of files and folders of each part of a source."""

UNLISTED_IMAGES = "annotations of images that are not listed (left out)"
UNLISTED_FILES = "image files that no annotation file lists (left out)"
SAME_IDS = "annotations with an id that another one has (kept)"

Content = dict[str, list[dict[str, Any]]]
"""What a COCO file holds: lists of images, annotations and categories."""

_LISTS = ("images", "annotations", "categories")
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def coco_source(folder: Path) -> BoxSource:
    """Find the parts of a folder in COCO's layout.

    Args:
        folder: it has ``annotations/instances_train*.json`` or the like, a single file in ``annotations``, or
            ``train/_annotations.coco.json``.

    Raises:
        ValueError: naming what is missing, or a file that is no COCO file.
    """
    files = {part: file for part in NAMES if (file := _file(folder, part)) is not None}
    only = [] if files else sorted((folder / "annotations").glob("*.json"))
    if len(only) == 1:
        files = {"train": only[0]}
    if "train" not in files:
        raise ValueError(f"coco:{folder}: there is no annotations/*train*.json (or train/_annotations.coco.json) in it")
    train = _read(files["train"])
    classes = tuple(_categories(train, files["train"]).values())
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise ValueError(f"{files['train']}: two categories have the name {twice[0]!r}")
    number = {name: index for index, name in enumerate(classes)}
    read = {"train": train}  # whole data sets are large files, which are read once
    parts = {part: partial(_pictures, folder, part, file, read.get(part), number) for part, file in files.items()}
    return BoxSource(folder, classes, parts, f"COCO annotations {folder.name}")


def _file(folder: Path, part: str) -> Path | None:
    for name in NAMES[part]:
        own = folder / name / "_annotations.coco.json"
        if own.is_file():
            return own
    found = [
        path
        for path in sorted((folder / "annotations").glob("*.json"))
        if NAMES[part][0] in path.stem.lower() and not path.stem.startswith("image_info")
    ]
    # Beside the boxes COCO has captions and key points, in files of their own.
    found = [path for path in found if path.stem.startswith("instances")] or found
    if len(found) > 1:
        raise ValueError(
            f"coco:{folder}: several annotation files could be its {part} part: "
            f"{', '.join(path.name for path in found)}; call the right one instances_{part}.json or move the others"
        )
    return found[0] if found else None


def _read(path: Path) -> Content:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
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
    return entry[key]


def _pictures(
    folder: Path, part: str, file: Path, content: Content | None, number: Mapping[str, int], remarks: Remarks
) -> list[Picture]:
    content = content or _read(file)
    labels = {}
    for each, name in _categories(content, file).items():
        if name not in number:
            raise ValueError(f"{file}: its category {name!r} (id {each}) is not one of the training part's")
        labels[each] = number[name]
    entries = {_value(each, "id", file, "an image"): each for each in content["images"]}
    if len(entries) < len(content["images"]):
        raise ValueError(f"{file}: two images have one id; ids must differ")
    objects = defaultdict(list)
    for image, found in _objects(content["annotations"], file, labels, remarks):
        if image in entries:
            objects[image].append(found)
        else:
            remarks.add(UNLISTED_IMAGES, f"{found.name} of image {image} in {file.name}")
    names = [str(_value(each, "file_name", file, "an image")) for each in entries.values()]
    where = _images_folder(folder, part, file, names)
    _remark_unlisted(where, part, {where / name for name in names}, remarks)
    return [
        Picture(below(folder, where / name), _size(entry), objects[image])
        for name, (image, entry) in zip(names, entries.items())
    ]


def _size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = entry.get("height"), entry.get("width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0 else None


def _objects(
    annotations: Sequence[Mapping[str, Any]], file: Path, labels: Mapping[Any, int], remarks: Remarks
) -> Iterator[tuple[Any, Object]]:
    """Yield the image and the box of every annotation."""
    ids = set()
    for place, each in enumerate(annotations):
        name = f"annotation {each['id']}" if isinstance(each, dict) and "id" in each else f"annotation number {place}"
        image, category, box = (_value(each, key, file, name) for key in ("image_id", "category_id", "bbox"))
        if category not in labels:
            raise ValueError(f"{file}: {name} of image {image} has the category id {category!r}, which is not listed")
        if not (isinstance(box, list) and len(box) == 4 and all(isinstance(edge, (int, float)) for edge in box)):
            raise ValueError(
                f"{file}: {name} of image {image} has the box {box!r}; needed are four numbers: x, y, w, h"
            )
        if each.get("id", name) in ids:
            remarks.add(SAME_IDS, f"{name} in {file.name}")
        ids.add(each.get("id", name))
        x, y, width, height = box
        area = each.get("area")
        corners = (x, y, x + width, y + height)
        known = float(area) if isinstance(area, (int, float)) else None
        yield image, Object(labels[category], corners, known, bool(each.get("iscrowd")), name)


def _images_folder(folder: Path, part: str, file: Path, names: Sequence[str]) -> Path:
    """Return the folder that the names of images start from."""
    # instances_train2017.json belongs to train2017, instances_default.json to default.
    of_file = [word for word in file.stem.split("_") if word.lower().startswith(NAMES[part][0])]
    words = dict.fromkeys((*of_file, *NAMES[part], file.stem.rpartition("_")[2]))
    places = [parent / each for parent in (folder, folder / "images") for each in words]
    places += [folder / "images", file.parent, folder]
    existing = [place for place in places if place.is_dir()]
    for name in names:
        for place in existing:
            if (place / name).is_file():
                return place
    tried = ", ".join(below(folder, place) for place in existing)
    raise ValueError(f"{file}: none of its images is in {folder} (looked in {tried})")


def _remark_unlisted(where: Path, part: str, listed: set[Path], remarks: Remarks) -> None:
    if not where.name.lower().startswith(NAMES[part]):
        return  # a folder that several parts share
    for path in sorted(where.iterdir()):
        if path.suffix.lower() in _SUFFIXES and path not in listed:
            remarks.add(UNLISTED_FILES, str(path))
