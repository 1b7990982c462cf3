"""Sources of images with boxes or masks, by the kind of their annotations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from nasvit.data.box_list import BoxSource, list_boxes
from nasvit.data.class_names import Classes
from nasvit.data.coco import coco_source
from nasvit.data.listed import Listed
from nasvit.data.mask_folders import has_masks, list_masks
from nasvit.data.mask_values import MASK_VALUES
from nasvit.data.voc import voc_source
from nasvit.data.yolo import yolo_source
from search_spaces.paths import unset

TaskName = Literal["classification", "detection", "segmentation"]

BOX_SOURCES: dict[str, Callable[[Path], BoxSource]] = {"coco": coco_source, "voc": voc_source, "yolo": yolo_source}
MASKS = "masks"

_LEGAL = {
    "detection": "coco:FOLDER, voc:FOLDER and yolo:FOLDER",
    "segmentation": "masks:FOLDER, or a folder with images/train and masks/train",
}


def task_of(source: str) -> TaskName:
    """Return the task that a source is for by its kind; it is classification where the source names no other."""
    kind = source.partition(":")[0]
    return "detection" if kind in BOX_SOURCES else "segmentation" if kind == MASKS else "classification"


def list_annotated(
    source: str,
    split: str,
    task: str,
    ignore_index: int | None,
    rule: Classes = "equal",
    *,
    record: Path | None = None,
    workers: int | None = None,
) -> Listed:
    """List one split of a source of images with boxes or masks.

    Args:
        source: kind and path.
        split: ``train`` or ``test``.
        task: ``detection`` or ``segmentation``.
        ignore_index: value of masks that is ignored, beside 255.
        rule: whether the test images may have no other classes than the training images.
        record: file that remembers bad images, beside which the values of masks are remembered; None: nothing is.
        workers: processes that look for these values; None: the processors that there are.

    Raises:
        ValueError: if it is no source for that task, or naming file and annotation that are wrong.
    """
    kind, _, rest = source.partition(":")
    path = Path(rest if task_of(source) != "classification" else source)
    masks = partial(
        list_masks,
        path,
        source,
        split,
        ignore_index,
        record=record and record.with_name(MASK_VALUES),
        workers=workers,
    )
    if task == "segmentation" and task_of(source) == "classification" and has_masks(path):
        return masks()
    if task_of(source) != task:
        raise ValueError(f"data source {source!r}: is none for {task}; legal are {_LEGAL[task]}")
    if not path.exists():
        raise ValueError(f"data source {source!r}: there is no {path}{unset(source)}")
    if kind == MASKS:
        return masks()
    return list_boxes(BOX_SOURCES[kind](path), source, split, rule)
