"""What the ways of spoiling a folder have in common."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from experiments.benchmarks.chaos.made.layouts import mask_file, voc_file, yolo_file
from experiments.benchmarks.chaos.made.pictures import Picture
from experiments.benchmarks.chaos.made.plan import Numbers, Plan, Rng, Sample

IN_FOLDERS = ("parts", "classes", "coco", "voc", "yolo", "masks", "masks of colors")
CLASSIFIED = ("parts", "classes", "tar", "tar parts", "tar labels")
EVERY = (*IN_FOLDERS, "tar", "tar parts", "tar labels")

_LEFT = 5  # good images of a class that stay in the training part

Apply = Callable[[Plan, Rng, Numbers], None]


@dataclass(frozen=True)
class Kind:
    """A way of spoiling a folder.

    Args:
        layouts: of which it is one.
        apply: changes a plan.
        share: how often it is drawn, relative to others.
    """

    layouts: Sequence[str]
    apply: Apply
    share: int = 2


def free(plan: Plan, rng: random.Random, count: int) -> list[Sample]:
    """Draw images that nothing was done with, and mark them."""
    left = [each for each in plan.samples if each not in plan.touched]
    drawn = rng.sample(left, min(count, len(left)))
    plan.touched.update(drawn)
    return drawn


def spare(plan: Plan, rng: random.Random, count: int) -> list[Sample]:
    """Draw images that can be done without, and mark them."""
    drawn: list[Sample] = []
    for _ in range(count):
        left = [each for each in plan.samples if each not in plan.touched and _more_than_needed(plan, each)]
        if left:
            drawn.append(rng.choice(left))
            plan.touched.add(drawn[-1])
            plan.spared.add(drawn[-1])
    return drawn


def _more_than_needed(plan: Plan, sample: Sample) -> bool:
    good = [each for each in plan.of(sample.role, sample.label) if each not in plan.spared]
    return len(good) > (_LEFT if sample.role == "train" else 1)


def give(plan: Plan, sample: Sample, picture: Picture) -> None:
    """Give an image another content, and its name the ending of that."""
    if plan.task != "classification" and not picture.ending:
        picture = replace(picture, ending=".jpg")
    stem = sample.path.removesuffix(sample.picture.ending)
    sample.path, sample.picture = stem + picture.ending, picture


def rename(plan: Plan, sample: Sample, stem: str) -> None:
    """Give an image another name, and with it what belongs to it."""
    of = {"voc": voc_file, "yolo": yolo_file}.get(plan.layout) or (mask_file if plan.task == "segmentation" else None)
    old = None if of is None else of(sample)
    ending = sample.picture.ending if sample.path.endswith(sample.picture.ending) else ""
    sample.path = os.path.join(os.path.dirname(sample.path), stem + ending)
    if of is not None and old in plan.documents:
        plan.documents[of(sample)] = plan.documents.pop(old)
