"""Several splits of few images into training and held-out ones, for finalists that are trained from random weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nasvit.data import ImageSet, hold_out
from nasvit.experiment.workbench import Workbench
from nasvit.search.judge import FEW

MOST = 3


def splits_of(bench: Workbench) -> int:
    """Return the number of splits that each finalist is trained and measured on.

    A supernet has seen all training images, so that with its weights other splits would show what it remembers.
    """
    search = bench.experiment.search
    if search.evaluate != "scratch":
        return 1
    return search.splits or min(MOST, math.ceil(FEW / len(bench.images.validation)))


def held_out_in_all(bench: Workbench) -> int:
    """Return the held-out images that a finalist is measured on, in all splits together."""
    return splits_of(bench) * len(bench.images.validation)


def splits(bench: Workbench) -> list[tuple[ImageSet, ImageSet]]:
    """Return the training and the held-out images of every split: first the experiment's own, then other ones like it.

    An image may be held out in several splits.
    """
    images = bench.images
    share = len(images.validation) / len(images.whole)
    others = [
        hold_out(images.whole, fraction=share, seed=_seed(bench, number)) for number in range(1, splits_of(bench))
    ]
    return [(images.train, images.validation), *((data.train, data.validation) for data in others)]


def _seed(bench: Workbench, number: int) -> int:
    return (bench.experiment.seed + 7919 * number) % 2**32  # not those of experiments with the next seeds


def mean_record(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the record of a candidate that was measured on several splits: the mean of each number.

    Args:
        records: one of each split. What only the whole training can tell, such as its curve, is that of the first.
    """
    first, *others = records
    if not others:
        return first
    base = {name: value for each in reversed(records) for name, value in each.items()}  # the first wins
    joined = {name: _mean([each[name] for each in records]) for name in base if _is_number_of_all(name, records)}
    told = [each.get("per_image", {}) for each in records]
    per_image = {name: [value for each in told for value in each.get(name, [])] for name in told[0]}
    images = sum(each["images"] for each in records)
    return {**base, **joined, "images": images, "splits": len(records), "per_image": per_image}


def _is_number_of_all(name: str, records: Sequence[dict[str, Any]]) -> bool:
    return all(isinstance(each.get(name), float) for each in records)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
