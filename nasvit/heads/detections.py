"""What a detector says of images: a box and scores for every place, and the objects that they come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from nasvit.heads.head import Size


class Detections(NamedTuple):
    """What a detector says of a batch, before anything is chosen: what a file for another runtime returns, too.

    Args:
        boxes: float32 ``(batch, places, 4)``: x1, y1, x2, y2 in pixels.
        scores: float32 ``(batch, places, classes)``, from 0 to 1.
    """

    boxes: Tensor
    scores: Tensor


class Objects(NamedTuple):
    """The objects found in one image, best first.

    Args:
        boxes: float32 ``(objects, 4)``: x1, y1, x2, y2 in pixels.
        scores: float32 ``(objects,)``, from 0 to 1.
        labels: int64 ``(objects,)``.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Choice:
    """How objects are chosen among what the places say; the defaults are torchvision's of FCOS but for the threshold.

    Args:
        threshold: smallest score.
        overlap: intersection over union above which the worse of two boxes of one class is left out.
        candidates: most boxes of an image before that.
        objects: most objects of an image.
    """

    threshold: float = 0.001
    overlap: float = 0.6
    candidates: int = 1000
    objects: int = 100

    def of(self, found: Detections, size: Size) -> list[Objects]:
        """Return the objects of every image of a batch.

        Args:
            found: what the detector says.
            size: of the images, to which boxes are cut.
        """
        return self.among(self.candidates_of(found, size))

    def candidates_of(self, found: Detections, size: Size) -> Objects:
        """Return the boxes with the best scores of every image, as many of each, without waiting for the device.

        Returns:
            Objects with an axis ``batch`` before all others; arguments as in :meth:`of`.
        """
        from torchvision.ops import clip_boxes_to_image

        scores = found.scores.float().flatten(1)
        best, places = scores.topk(min(self.candidates, scores.shape[1]))
        classes = found.scores.shape[2]
        rows = (places // classes)[..., None].expand(-1, -1, 4)
        boxes = clip_boxes_to_image(found.boxes.float().gather(1, rows), size)
        return Objects(boxes, best, places % classes)

    def among(self, candidates: Objects) -> list[Objects]:
        """Return the objects of every image among what :meth:`candidates_of` returned."""
        return [self.among_one(Objects(*each)) for each in zip(*candidates, strict=True)]

    def among_one(self, candidates: Objects) -> Objects:
        """Return the objects of one image among its candidates, best first.

        This is torchvision's ``batched_nms`` of those above the threshold, to the bit, but only its results are of a
        size that depends on what the image shows, so that it can be exported with a network.
        """
        if not len(candidates.scores):
            return candidates
        from torchvision.ops import nms

        above = candidates.scores > self.threshold
        scores = candidates.scores.where(above, 0.0)  # those below come last, and so leave none of the others out
        apart = candidates.boxes.where(above[:, None], 0.0).max() + 1  # boxes of two classes never overlap
        boxes = candidates.boxes + (candidates.labels.to(candidates.boxes) * apart)[:, None]
        kept = nms(boxes, scores, self.overlap)
        kept = kept[above[kept]][: self.objects]
        return Objects(*(each[kept] for each in candidates))


EVALUATION = Choice()
"""The choice that detectors are compared by: so low a threshold that average precision sees the whole curve."""

SHOWN = Choice(threshold=0.3, overlap=0.5)
"""The choice that pictures are drawn with: fewer boxes, which overlap less."""
