"""What the supernet of a detector or segmenter is made of: a search space of backbones, and a head."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from nasvit.costs.dense import as_backbones, dense_cost_table
from nasvit.dense.shared import DenseShared
from nasvit.experiment.origin import ImagesFor, OfSpace
from nasvit.heads.kinds import AnyHead
from nasvit.specs import DenseSpec, SubnetSpec
from nasvit.supernets.supernet import Supernet
from predictors.cost import CostTable
from search_spaces import SearchSpace, Space, load
from search_spaces.values import FieldError


class OfSpaceWithHead(OfSpace):
    """A search space of backbones, each of them with the same kind of head.

    Args:
        name: name of the space, or its file.
        images: the images, of which size and classes count.
        head: the head.
        latency: is refused: tables of latency are those of classifiers.
    """

    def __init__(self, name: str, images: ImagesFor, head: AnyHead, latency: str | None) -> None:
        if latency is not None:
            problem = "tables are those of classifiers; limit macs, params, memory or int8 size"
            raise FieldError(["search", "latency"], problem)
        super().__init__(name, images, None)
        self._head = head

    @cached_property
    def space(self) -> Space:
        """The search space as far as the head needs it."""
        return as_backbones(load(self._name), self._head)

    @property
    def _size(self) -> tuple[int, int]:
        return self._images.shape[1:]

    @cached_property
    def _table(self) -> CostTable:
        return dense_cost_table(self.space, self._head, len(self._images.classes), self._size)

    def supernet(self, space: SearchSpace, classes: int, seed: int) -> DenseShared:  # type: ignore[override]
        """Return the supernet of a space that was cut from this one, with a head; its weights are random."""
        assert isinstance(space, Space)
        backbones = Supernet(space, classes=1, seed=seed)
        return DenseShared(backbones, space.largest, self._head, self._images.shape, classes, seed=seed)

    def spec(self, space: SearchSpace, architecture: Any) -> DenseSpec:  # type: ignore[override]
        """Return the spec of a subnet with the head."""
        assert isinstance(space, Space)
        return DenseSpec(SubnetSpec(space, architecture, resize=False), self._head, self._size)
