"""Releases: how a released checkpoint names its tensors, and which network of ours holds them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from nasvit.specs import Spec

ListTensors = Callable[[nn.Module], "Iterable[ReleasedTensor]"]


@dataclass(frozen=True)
class ReleasedTensor:
    """One tensor of a release.

    Args:
        released: name in the release.
        ours: name in our network's state dict.
        shape: shape in the release; our shape may differ, with as many elements.
        resize: turns a tensor of another shape into one of this shape, or returns None if it cannot.
        rows: number of leading rows that our tensor takes; the release never computes with the others. None: all.
    """

    released: str
    ours: str
    shape: tuple[int, ...]
    resize: Callable[[Tensor, tuple[int, ...]], Tensor | None] | None = None
    rows: int | None = None


@dataclass(frozen=True)
class Release:
    """A kind of released checkpoint.

    Args:
        source: the name that users give.
        title: title with the origin, for messages.
        build: builds our network for a number of classes, with stored batch-norm statistics.
        entries: lists the tensors of the release for that network.
        unused: patterns of released names that the release stores but never computes with.
        classifier: released name of the classifier, whose bias gives the number of classes.
        spec: spec of the network, if it is a plain one.
    """

    source: str
    title: str
    build: Callable[[int], nn.Module]
    entries: ListTensors
    unused: tuple[str, ...] = ()
    classifier: str = ""
    spec: Spec | None = None

    def is_unused(self, name: str) -> bool:
        """Return whether the release stores this tensor without computing with it."""
        return any(re.fullmatch(pattern, name) for pattern in self.unused)

    def classes(self, shapes: Mapping[str, tuple[int, ...]]) -> int:
        """Return the number of classes that a checkpoint's classifier has, 1000 if it has none."""
        weight, bias = (shapes.get(f"{self.classifier}.{part}", ()) for part in ("weight", "bias"))
        return bias[0] if len(bias) == 1 and weight[:1] == bias and bias[0] > 0 else 1000


def renamed(name: str, renames: Mapping[str, str]) -> str:
    """Replace our prefix of a name by the released one.

    Raises:
        ValueError: if no prefix fits.
    """
    for ours, released in renames.items():
        if name.startswith(ours):
            return released + name.removeprefix(ours)
    raise ValueError(f"no released name is known for {name!r}")
