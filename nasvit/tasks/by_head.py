"""The task of a head."""

from __future__ import annotations

from nasvit.heads.head import Head, Size
from nasvit.tasks.detection import Detection
from nasvit.tasks.segmentation import Segmentation
from nasvit.tasks.task import Task

_TASKS: dict[str, type[Detection | Segmentation]] = {"detection": Detection, "segmentation": Segmentation}


def task_of(head: Head, classes: int, size: Size) -> Task:
    """Return the task that a head is for.

    Args:
        head: the head.
        classes: number of classes.
        size: height and width of the images.
    """
    return _TASKS[head.task](classes, head, size)
