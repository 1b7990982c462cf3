"""``nasvit predict`` of detectors and segmenters: what they find in pictures, printed, written and drawn."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from nasvit.data.pictures import decodable, letterboxed_picture, opened_picture, picture_files
from nasvit.files.records import write_json
from nasvit.files.whole import whole
from nasvit.heads.detections import SHOWN
from nasvit.report.found import MASK, Found, FoundClasses, FoundObjects, classes_in, objects_in
from nasvit.report.loaded import Loaded, task_of_card

_TABLES, _PICTURES = (".csv", ".json"), (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def check_options(task: str, *, top: int | None, threshold: float | None) -> None:
    """Refuse options of ``nasvit predict`` that are for networks of other tasks.

    Raises:
        ValueError: naming the option.
    """
    if top is not None:
        raise ValueError(f"--top {top} is for classifiers; this network is for {task}")
    if threshold is not None and task != "detection":
        raise ValueError(f"--threshold {threshold:g} is for detectors; this network is for {task}")


def show_found(
    path: Path, images: tuple[Path, ...], *, out: Path | None, width: float | None, threshold: float | None = None
) -> None:
    """Print what a detector or segmenter finds in pictures, and write or draw it if a file or folder is named.

    Args:
        path: a saved network, or an exported file.
        images: image files, and folders of them.
        out: a .csv or .json file, a picture, or a folder that gets one picture each.
        width: width of a network with several.
        threshold: least score of an object; the usual one if left out.

    Raises:
        ValueError: if there are no such pictures, or it cannot be written so.
    """
    if not images:
        raise ValueError("of which images? Give image files or folders of them")
    loaded, files = Loaded(path, width=width), picture_files(images)
    _check_out(out, len(files), masks=task_of_card(loaded.card) == "segmentation")
    kept, names = list[Found](), set[str]()
    for found in _found(loaded, files, loaded.threshold(threshold)):
        print(found.words())
        if out is not None and out.suffix in _TABLES:
            kept.append(found)
        elif out is not None:
            _draw(found, out, names)
        names.add("")
    if not names:
        raise ValueError("none of the images can be decoded")
    if out is not None and kept:
        _write(out, kept)


def _check_out(out: Path | None, count: int, *, masks: bool) -> None:
    if out is None or out.suffix in _TABLES or _is_folder(out):
        return
    if out.suffix not in _PICTURES:
        legal = f"names that end in .csv or .json, for one picture in {', '.join(_PICTURES)}, or a folder's name"
        raise ValueError(f"--out {out}: legal are {legal}")
    if count > 1:
        raise ValueError(f"--out {out} is one picture, and there are {count}; give the name of a folder")
    if masks and out.stem.endswith(MASK) and out.suffix != ".png":
        raise ValueError(f"--out {out}: numbers of classes would not survive as {out.suffix}; name it {out.stem}.png")


def _is_folder(out: Path) -> bool:
    return out.is_dir() or not out.suffix


def _found(loaded: Loaded, files: Sequence[Path], threshold: float) -> Iterator[Found]:
    """Yield what is found in every file; those that cannot be decoded are named and left out."""
    channels, height, width = loaded.card.shape
    for file, picture in decodable(files, lambda file: opened_picture(file, channels)):
        served, stored = (height, width), (picture.height, picture.width)
        said = loaded.said(letterboxed_picture(picture, served))
        if task_of_card(loaded.card) == "detection":
            objects = objects_in(said, served, stored, replace(SHOWN, threshold=threshold))
            yield FoundObjects(file, picture, loaded.card.classes, objects)
        else:
            yield FoundClasses(file, picture, loaded.card.classes, classes_in(said, served, stored))


def _draw(found: Found, out: Path, names: set[str]) -> None:
    """Draw into a picture, or into one of a folder, beside those that were written there before."""
    if not _is_folder(out):
        _save(found.mask() if found.masks and out.stem.endswith(MASK) else found.drawn(), out)
        return
    name, number = found.file.stem, 1
    while name in names:
        number += 1
        name = f"{found.file.stem}-{number}"
    names.add(name)
    _save(found.drawn(), out / f"{name}.png")
    if found.masks:
        _save(found.mask(), out / f"{name}{MASK}.png")


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _write(out: Path, found: Sequence[Found]) -> None:
    if out.suffix == ".json":
        write_json(out, [each.to_json() for each in found])
        return
    rows = [{"file": str(each.file), **row} for each in found for row in each.rows()]
    write_rows(out, rows, ("file", *found[0].columns))


def write_rows(out: Path, rows: list[dict[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write rows as JSON or CSV, by the name of the file.

    Args:
        out: the file.
        rows: values by column.
        columns: names of the columns of a CSV file; those of the first row if left out.
    """
    if out.suffix == ".json":
        write_json(out, rows)
        return
    as_bytes = "surrogateescape"  # names of files in their own bytes
    with whole(out) as temporary, temporary.open("w", newline="", encoding="utf-8", errors=as_bytes) as file:
        writer = csv.DictWriter(file, columns or rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
