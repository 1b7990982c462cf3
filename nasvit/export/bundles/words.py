"""The words of model cards that differ from task to task."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """Words of one task.

    Args:
        tag: the hub's name of the task.
        intro: what such a network does; ``{classes}`` is how many classes there are.
        metric: name of the number that networks are compared by, as a card has it of every exported file.
        metric_name: the same as a heading.
        metric_in_text: the same in a sentence.
        of: what stands between that number and the images.
        agreement: what a file and the network have in common.
        deviation: how far they are apart, of what a card says of a file.
        of_what: what that is the deviation of.
        limit: what happens to what is none of the classes.
        scores: what its scores are.
    """

    tag: str
    intro: str
    metric: str
    metric_name: str
    metric_in_text: str
    of: str
    agreement: str
    deviation: str
    of_what: str
    limit: str
    scores: str


WORDS = {
    "classification": Words(
        tag="image-classification",
        intro="An image classifier: it gives each of {classes} classes a score",
        metric="accuracy",
        metric_name="Accuracy",
        metric_in_text="accuracy",
        of="of",
        agreement="Same class",
        deviation="{deviation:.1e}",
        of_what="a score",
        limit="every picture, whatever it shows, gets one of them",
        scores="probabilities",
    ),
    "detection": Words(
        tag="object-detection",
        intro="An object detector: it finds objects of {classes} classes, each with a box and a score",
        metric="map",
        metric_name="mAP",
        metric_in_text="average precision",
        of="on",
        agreement="Same objects",
        deviation="{box_deviation:.1e} pixels, {deviation:.1e}",
        of_what="a box and of a score",
        limit="objects of others are not found, or taken for one of these",
        scores="scores",
    ),
    "segmentation": Words(
        tag="image-segmentation",
        intro="A segmenter: it gives every pixel one of {classes} classes",
        metric="miou",
        metric_name="mIoU",
        metric_in_text="intersection over union",
        of="on",
        agreement="Same pixels",
        deviation="{deviation:.1e}",
        of_what="a score",
        limit="every pixel, whatever it shows, gets one of them",
        scores="scores",
    ),
}
"""Words of every task."""
