"""Labels of channels: which channels of all tensors are kept or left out together, and which never change."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
"""One label for each position along an axis; positions with one label are kept or left out together."""


class LabelStore:
    """Gives out labels, ties them together, and freezes those whose channels have to stay.

    Labels that were tied have one root; a frozen root has the reason why.
    """

    def __init__(self) -> None:
        self._parent = np.arange(1024)
        self._next = 0
        self._reasons: dict[int, str] = {}

    def fresh(self, count: int) -> Labels:
        """Return new labels."""
        while self._next + count > len(self._parent):
            self._parent = np.concatenate([self._parent, np.arange(len(self._parent), 2 * len(self._parent))])
        first, self._next = self._next, self._next + count
        return np.arange(first, self._next)

    def roots(self, labels: Labels) -> Labels:
        """Return the root of every label."""
        found = self._parent[labels]
        while not np.array_equal(above := self._parent[found], found):
            found = above
        self._parent[labels] = found  # so that the next look-up is short
        return found

    def tie(self, first: Labels, second: Labels) -> None:
        """Let labels in equal places be kept or left out together; shapes broadcast."""
        both = np.broadcast_arrays(self.roots(first), self.roots(second))
        differing = both[0] != both[1]
        pairs = np.unique(np.stack([each[differing] for each in both], axis=1), axis=0)
        for one, other in pairs.tolist():
            self._unite(self._root(one), self._root(other))

    def tie_all(self, labels: Labels) -> None:
        """Let all labels be kept or left out together."""
        if labels.size:
            self.tie(labels, labels.flat[0])

    def freeze(self, labels: Labels, reason: str) -> None:
        """Keep the channels of these labels in every subnet; the first reason counts."""
        for root in np.unique(self.roots(labels)).tolist():
            self._reasons.setdefault(root, reason)

    def reason(self, label: int) -> str | None:
        """Return why a label is frozen; None: it is not."""
        return self._reasons.get(self._root(label))

    def is_frozen(self, labels: Labels) -> NDArray[np.bool_]:
        """Return for every label whether it is frozen."""
        return np.isin(self.roots(labels), np.fromiter(self._reasons, np.int64, len(self._reasons)))

    def _root(self, label: int) -> int:
        while (above := int(self._parent[label])) != label:
            label = above
        return label

    def _unite(self, one: int, other: int) -> None:
        if one == other:
            return
        low, high = min(one, other), max(one, other)
        self._parent[high] = low
        reason = self._reasons.pop(high, None)
        if reason is not None:
            self._reasons.setdefault(low, reason)
