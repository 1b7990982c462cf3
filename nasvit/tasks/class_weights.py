"""Weights of classes in the loss of a segmenter, where some have far fewer pixels than others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from torch import Tensor

from search_spaces.ranges import Range
from search_spaces.reading import legal_names
from search_spaces.values import FieldError

Weight = Annotated[float, Range(0, 1e6)]
ClassWeights = Literal["balanced"] | tuple[Weight, ...] | dict[str, Weight]
"""Weights as a file gives them: from the training masks, a number for every class, or by the names of some."""

_FIELD = "class_weights"


def check_weights(weights: ClassWeights | None, task: str) -> None:
    """Refuse weights that no loss can have, whatever the classes are.

    Raises:
        FieldError: if they are for another task, or a weight is no number from 0 up.
    """
    if weights is None:
        return
    if task != "segmentation":
        raise FieldError([_FIELD], f"weigh the pixels of segmentation, and the task is {task}; leave them out")
    if isinstance(weights, str):
        return
    entries: Iterable[tuple[Any, float]] = weights.items() if isinstance(weights, dict) else enumerate(weights)
    for place, weight in entries:
        if not 0 <= weight < math.inf:
            raise FieldError([_FIELD, place], f"{weight} is illegal; legal: numbers from 0 (not learned) up")


def weights_of(weights: tuple[float, ...] | dict[str, float], classes: Sequence[str], source: str) -> tuple[float, ...]:
    """Return the weight of every class; those that a mapping does not name weigh 1.

    Args:
        weights: a number for every class, or by the names of some.
        classes: names of the classes.
        source: where they come from, for messages.

    Raises:
        FieldError: if there is no such class, a number for each is missing, or all are 0.
    """
    if isinstance(weights, dict):
        for name in weights:
            if name not in classes:
                raise FieldError([_FIELD, name], f"{source} has no such class; {legal_names(name, classes)}")
        weights = tuple(weights.get(name, 1.0) for name in classes)
    if len(weights) != len(classes):
        problem = f"are {len(weights)}, and {source} has {len(classes)} classes: {', '.join(classes)}"
        raise FieldError([_FIELD], f"{problem}; give a number for each in this order, or a mapping of some names")
    if not any(weights):
        raise FieldError([_FIELD], "are all 0, so that nothing is learned; give one class at least a number above 0")
    return weights


def balanced(pixels: Tensor, among: Tensor) -> tuple[float, ...]:
    """Return the weight of every class by the share of pixels that it has: the median share divided by its own.

    A class of no pixel at all, which training masks give nothing to learn of, weighs 1.

    Args:
        pixels: pixels of every class ``(classes,)``.
        among: pixels with a class in the masks that show it ``(classes,)``.

    Source: median frequency balancing of Eigen and Fergus, Predicting Depth, Surface Normals and Semantic Labels
    (2015), https://arxiv.org/abs/1411.4734, as in Badrinarayanan et al., SegNet (2015),
    https://arxiv.org/abs/1511.00561
    """
    own, there = pixels.double().numpy(), pixels.numpy() > 0
    shares = own / np.maximum(among.numpy(), 1)
    weights = np.ones(len(shares))
    if there.any():
        weights[there] = np.median(shares[there]) / shares[there]
    return tuple(weights.tolist())
