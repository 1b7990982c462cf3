"""Boxes in COCO's JSON files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from nasvit.data.box_list import OTHER_CLASSES, BoxSource, Object, Picture, below
from nasvit.data.class_names import WAY_OUT, Classes
from nasvit.data.coco_file import read_coco
from nasvit.data.remarks import Remarks
from nasvit.data.roles import role_of
from nasvit.data.walking import ends_like_image, folders_in, is_hidden

NAMES = {"train": ("train",), "test": ("test",), "val": ("val", "valid", "validation")}
"""Names of files and folders of each part of a source."""

UNLISTED_FILES = "image files that no annotation file lists (left out)"


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
    classes = tuple(name for _, name in read_coco(files["train"]).categories)
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise ValueError(f"{files['train']}: two categories have the name {twice[0]!r}")
    number = {name: index for index, name in enumerate(classes)}
    parts = {part: partial(_pictures, folder, part, file, number) for part, file in files.items()}
    return BoxSource(folder, classes, parts, f"COCO annotations {folder.name}")


def _file(folder: Path, part: str) -> Path | None:
    for name in _folders(folder, part):
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


def _folders(parent: Path, part: str) -> list[str]:
    """Return the names of the folders that are called like a part: first those that are called just so."""
    found = [name for name in folders_in(parent) if role_of(name) == part] if parent.is_dir() else []
    return sorted(found, key=lambda name: (name not in NAMES[part], name))


def _pictures(
    folder: Path, part: str, file: Path, labels: Mapping[str, int], remarks: Remarks, rule: Classes
) -> list[Picture]:
    found = read_coco(file)
    for number, name in found.categories:
        if name not in labels and rule == "equal":
            known = f"is not one of the training part's; leave it out, {WAY_OUT}"
            raise ValueError(f"{file}: its category {name!r} (id {number}) {known}")
    for kind, odd in found.oddities:
        remarks.add(kind, odd)
    names = [found.images[each] for each in range(len(found.images))]
    where = _images_folder(folder, part, file, names)
    _remark_unlisted(where, part, {where / name for name in names}, remarks)
    return [
        Picture(below(folder, where / name), size, _known(found.objects(number, labels), remarks))
        for number, (name, size) in enumerate(zip(names, found.sizes))
    ]


def _known(objects: Sequence[Object], remarks: Remarks) -> list[Object]:
    """Return the boxes of known categories."""
    for each in objects:
        if each.label < 0:
            remarks.add(OTHER_CLASSES, each.name)
    return [each for each in objects if each.label >= 0]


def _images_folder(folder: Path, part: str, file: Path, names: Sequence[str]) -> Path:
    """Return the folder that the names of images start from."""
    # instances_train2017.json belongs to train2017, instances_default.json to default.
    of_file = [word for word in file.stem.split("_") if word.lower().startswith(NAMES[part][0])]
    called = [name for parent in (folder, folder / "images") for name in _folders(parent, part)]
    words = dict.fromkeys((*of_file, *NAMES[part], file.stem.rpartition("_")[2], *called))
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
    if role_of(where.name) != part:
        return  # a folder that several parts share
    for path in sorted(where.iterdir()):
        if ends_like_image(path.name) and not is_hidden(path.name) and path not in listed:
            remarks.add(UNLISTED_FILES, str(path))
