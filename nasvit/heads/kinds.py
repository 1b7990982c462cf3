"""All heads, by the names that files call them by."""

from __future__ import annotations

from typing import get_args

from nasvit.heads.fcos import FCOS
from nasvit.heads.head import Head
from nasvit.heads.retinanet import RetinaNet
from nasvit.heads.segmentation import LRASPP, PyramidSegmentation
from nasvit.heads.ssdlite import SSDLite
from search_spaces.values import FieldError

AnyHead = FCOS | RetinaNet | SSDLite | LRASPP | PyramidSegmentation
"""A head as files describe it: by its kind, or by a mapping with ``kind`` and what else is not the default."""

_FIRST = {"detection": FCOS, "segmentation": LRASPP}
"""The head of a task that names none."""


def head_of(task: str, head: AnyHead | None) -> AnyHead | None:
    """Return the head of a task: the one given, or its usual one; None for classification.

    Raises:
        FieldError: if the head is for another task.
    """
    if head is None:
        return _FIRST[task]() if task in _FIRST else None
    if head.task != task:
        legal = ", ".join(each.kind for each in get_args(AnyHead) if issubclass(each, Head) and each.task == task)
        told = f"legal of {task}: {legal}" if legal else f"leave it out, or say task: {head.task}"
        raise FieldError(["head"], f"{head.kind} is for {head.task}; {told}")
    return head
