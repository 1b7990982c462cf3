"""What the supernet of a detector or segmenter is made of: a search space of backbones, and a head."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from nasvit.any_network import Elastic
from nasvit.costs.dense import as_backbones, dense_cost_table
from nasvit.costs.latency.dense import DenseSubject
from nasvit.dense.shared import DenseShared
from nasvit.experiment.config import Experiment
from nasvit.experiment.origin import ImagesFor, OfNetwork, OfSpace, Origin
from nasvit.heads.kinds import AnyHead
from nasvit.specs import DenseSpec, SubnetSpec
from nasvit.supernets.supernet import Supernet
from predictors.cost import CostTable
from search_spaces import SearchSpace, Space, load


class OfSpaceWithHead(OfSpace):
    """A search space of backbones, each of them with the same kind of head.

    Args:
        name: name of the space, or its file.
        images: the images, of which size and classes count.
        head: the head.
        latency: a file that ``nasvit latency build`` wrote for this space, head and size; None: latency is not known.
    """

    def __init__(self, name: str, images: ImagesFor, head: AnyHead, latency: str | None) -> None:
        super().__init__(name, images, latency)
        self._head = head

    @property
    def subject(self) -> DenseSubject:
        """What a latency table of it is made of."""
        return DenseSubject(self.space, self._head, self._size)

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


def origin_for(experiment: Experiment, images: ImagesFor) -> Origin:
    """Return what an experiment makes its supernet of: a network, a search space, or one with a head."""
    head, latency = experiment.whole_head, experiment.search.latency
    if experiment.network is not None:
        return OfNetwork(experiment.network, images, experiment.elastic or Elastic(), latency)
    assert experiment.space is not None
    if head is None:
        return OfSpace(experiment.space, images, latency)
    return OfSpaceWithHead(experiment.space, images, head, latency)
