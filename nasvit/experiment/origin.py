"""What the supernet of an experiment is made of: a search space, or a network that is made elastic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from nasvit.any_network import Elastic, ElasticModel
from nasvit.any_network.choices import space_of
from nasvit.any_network.plan import returned_by
from nasvit.costs.any_network import ElasticCosts
from nasvit.costs.latency.networks import NetworkSubject
from nasvit.costs.latency.subjects import SpaceSubject, Subject
from nasvit.costs.tables import cost_table
from nasvit.experiment.image_size import spec_for_images, square_side
from nasvit.registry import spec_of
from nasvit.search.candidates import Costs
from nasvit.specs import ElasticSpec, Spec, SubnetSpec, elastic_plan
from nasvit.supernets.shared_network import SharedNetwork
from nasvit.supernets.supernet import Supernet
from predictors.arrays import Codes
from predictors.bounds import Kept, Parts, admitted_by_any, outside_bounds, parts_of, span
from predictors.cost import CostTable
from predictors.latency import LatencyTable
from predictors.limits import Budget, Limit
from search_spaces import ElasticSpace, SearchSpace, Space, load
from search_spaces.values import FieldError


class ImagesFor(Protocol):
    """What a network is made for."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image: channels, height, width; zeros where sizes differ."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""


@dataclass(frozen=True)
class ImagesOf:
    """Images of which no more is known than a network needs; arguments as in :class:`ImagesFor`."""

    shape: tuple[int, int, int]
    classes: tuple[str, ...]


class Origin(ABC):
    """What a supernet is made of, and what its subnets cost.

    Args:
        latency: a file that ``nasvit latency build`` wrote; None: latency is not known.

    Attributes:
        is_network: whether it is a network, of which the supernet takes the weights.
    """

    is_network = False

    def __init__(self, latency: str | None) -> None:
        self._latency = latency

    @property
    @abstractmethod
    def subject(self) -> Subject[Any]:
        """What a latency table of it is made of."""

    @cached_property
    def _latency_table(self) -> LatencyTable | None:
        if self._latency is None:
            return None
        if not Path(self._latency).is_file():
            raise ValueError(f"search.latency: there is no file {self._latency}; nasvit latency build writes one")
        return self.subject.load(Path(self._latency))

    def latency_remarks(self, classes: int) -> list[str]:
        """Return a line if the latency table was measured with another number of classes, which the last layer has."""
        measured = classes if self._latency_table is None else self._latency_table.record.get("classes", classes)
        if measured == classes:
            return []
        return [
            f"{self._latency} was measured with {measured} classes, and the images have {classes}: the last layer "
            "takes another time; nasvit latency build EXPERIMENT.yaml measures what is searched"
        ]

    @property
    @abstractmethod
    def space(self) -> SearchSpace:
        """All subnets."""

    @property
    @abstractmethod
    def about(self) -> str:
        """What to call it in messages."""

    @abstractmethod
    def costs(self, codes: Codes) -> Costs:
        """Return what rows of the space cost, by metric."""

    @abstractmethod
    def span(self, metric: str) -> tuple[float, float]:
        """Return the smallest and the largest cost of all subnets."""

    @abstractmethod
    def admitted(self, budgets: Sequence[Budget]) -> Kept | None:
        """Return the choices of every gene that subnets within a budget can have; None: there is no such subnet."""

    @abstractmethod
    def supernet(self, space: SearchSpace, classes: int, seed: int) -> SharedNetwork:
        """Return the supernet of a space that was cut from this one's, with random weights."""

    @abstractmethod
    def spec(self, space: SearchSpace, architecture: Any) -> Spec:
        """Return the spec of a subnet of a space that was cut from this one's."""

    @cached_property
    def whole(self) -> Mapping[str, float]:
        """What the largest subnet costs, which shares in budgets are shares of."""
        row = self.space.encode([self.space.largest])
        return {metric: float(values[0]) for metric, values in self.costs(row).items()}


class OfSpace(Origin):
    """A search space of the catalog or of a file.

    Args:
        name: name of the space, or its file.
        images: the images, of which the classes count.
        latency: a file that ``nasvit latency build`` wrote; None: latency is not known.
    """

    def __init__(self, name: str, images: ImagesFor, latency: str | None) -> None:
        super().__init__(latency)
        self._name, self._images = name, images

    @property
    def subject(self) -> Subject[Space]:
        """What a latency table of it is made of."""
        return SpaceSubject(self.space)

    @cached_property
    def space(self) -> Space:
        """The search space as its file describes it."""
        return load(self._name)

    @property
    def about(self) -> str:
        """What to call it in messages."""
        return f"space {self.space.name}"

    @cached_property
    def _table(self) -> CostTable:
        return cost_table(self.space, len(self._images.classes))

    @cached_property
    def _parts(self) -> dict[str, Parts]:
        """The costs of the whole space as parts of a network."""
        table, parts = self._latency_table, parts_of(self._table)
        return parts if table is None else parts | {"latency": table.parts}

    def costs(self, codes: Codes) -> Costs:
        """Return what rows of the space cost, by metric."""
        table, costs = self._latency_table, dict(self._table.costs(codes))
        return costs if table is None else costs | {"latency": table.latency(codes)}

    def span(self, metric: str) -> tuple[float, float]:
        """Return the smallest and the largest cost of all subnets."""
        return span(self._parts[metric], self.space.genome)

    def admitted(self, budgets: Sequence[Budget]) -> Kept | None:
        """Return the choices of every gene that subnets within a budget can have; None: there is no such subnet."""
        return admitted_by_any(self.space.genome, self._parts, [budget.limits for budget in budgets])

    def supernet(self, space: SearchSpace, classes: int, seed: int) -> Supernet:
        """Return the supernet of a space that was cut from this one, with random weights."""
        assert isinstance(space, Space)
        return Supernet(space, classes, seed=seed)

    def spec(self, space: SearchSpace, architecture: Any) -> SubnetSpec:
        """Return the spec of a subnet."""
        assert isinstance(space, Space)
        return SubnetSpec(space, architecture)


class OfNetwork(Origin):
    """A network that is made elastic.

    Args:
        name: name of the network; see :mod:`nasvit.registry`.
        images: the images, of which size, channels and classes count.
        elastic: what is decided.
        latency: a file that ``nasvit latency build`` wrote; None: latency is not known.
    """

    is_network = True

    def __init__(self, name: str, images: ImagesFor, elastic: Elastic, latency: str | None = None) -> None:
        super().__init__(latency)
        self._name, self._images, self._elastic = name, images, elastic

    @property
    def subject(self) -> NetworkSubject:
        """What a latency table of it is made of."""
        return NetworkSubject(self.base, self.space, self.side)

    @property
    def about(self) -> str:
        """What to call it in messages."""
        return f"network {self._name}"

    @cached_property
    def base(self) -> Spec:
        """The spec of the network.

        Raises:
            ValueError: if there is no such network, or it takes other images.
        """
        channels, classes = self._images.shape[0], len(self._images.classes)
        try:
            spec = spec_of(self._name, image_channels=channels)
            if spec.channels != channels:
                raise ValueError(f"{self._name} takes images of {spec.channels} channels, these have {channels}")
            network = spec.build(classes)
            sized = spec_for_images(spec, network, (channels, self.side, self.side), classes)
        except FieldError:
            raise
        except (ValueError, FileNotFoundError) as error:
            raise FieldError(["network"], str(error)) from error
        self._check_scores(network if sized == spec else sized.build(classes))
        return sized

    def _check_scores(self, network: nn.Module) -> None:
        """Refuse a network that returns anything but one score for every class."""
        classes = len(self._images.classes)
        scores = returned_by(network, (2, self._images.shape[0], self.side, self.side))
        found = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        if found != (2, classes):
            needed = f"it must return scores of shape (2, {classes})"
            raise FieldError(["network"], f"{self._name} returns {found} for 2 images of {classes} classes; {needed}")

    @cached_property
    def side(self) -> int:
        """Side of the images that the network is made elastic with, in pixels: the largest resolution there is."""
        return max((square_side(self._images.shape), *self._elastic.resolution))

    @cached_property
    def space(self) -> ElasticSpace:
        """Everything that is decided in the network."""
        name, plan, shape = self._name.rpartition(":")[2], self._plan, (self.base.channels, self.side, self.side)
        try:
            space = space_of(plan, self._elastic, name, shape)
        except FieldError as error:
            raise error.under("elastic") from error
        if not len(space.genome):
            raise FieldError(["elastic"], f"leaves nothing to decide in {self._name}; allow width, depth or more")
        return space

    @property
    def _plan(self) -> Any:
        try:
            return elastic_plan(self.base, len(self._images.classes), self.side)
        except FieldError:
            raise
        except ValueError as error:
            raise FieldError(["network"], str(error)) from error

    @cached_property
    def _table(self) -> ElasticCosts:
        return ElasticCosts(self.base.build(len(self._images.classes)), self._plan, self.space)

    def costs(self, codes: Codes) -> Costs:
        """Return what rows of the space cost, by metric."""
        table, costs = self._latency_table, dict(self._table.costs(codes))
        return costs if table is None else costs | {"latency": table.latency(codes)}

    def span(self, metric: str) -> tuple[float, float]:
        """Return the smallest and the largest cost of all subnets, or bounds of them: see :meth:`admitted`."""
        if metric == "latency" and self._latency_table is not None:
            least, most = outside_bounds(self._latency_table.parts)
            return float(least), float(most)
        ends = self.costs(self.space.encode([self.space.smallest, self.space.largest]))
        return float(ends[metric][0]), float(ends[metric][1])

    def admitted(self, budgets: Sequence[Budget]) -> Kept | None:
        """Return the choices of every gene that subnets within a budget can have; None: there is no such subnet.

        No counted cost falls where anything grows, so that with one choice the cheapest subnet is the one that has the
        smallest of everything else, and the costliest the one that has the largest. Of latency, which may, each part of
        the network is taken at its best and at its worst, so that some choices too many can be left.
        """
        kept = [self._within(budget.limits) for budget in budgets]
        feasible = [each for each in kept if all(len(values) for values in each)]
        if not feasible:
            return None
        return [np.unique(np.concatenate(columns)) for columns in zip(*feasible, strict=True)]

    def _within(self, limits: Sequence[Limit]) -> Kept:
        genome = self.space.genome
        ends = self.space.encode([self.space.smallest, self.space.largest])
        kept = []
        for column, gene in enumerate(genome.genes):
            least, most = (np.repeat(end[None], len(gene.values), axis=0) for end in ends)
            least[:, column] = most[:, column] = np.arange(len(gene.values))
            if gene.when is not None:
                least[:, genome.column(gene.when[0])] = gene.when[1][0]
            ends_of: tuple[dict[str, Any], ...] = tuple(dict(self._table.costs(rows)) for rows in (least, most))
            cheap, dear = ends_of
            if self._latency_table is not None:
                cheap["latency"], dear["latency"] = outside_bounds(self._latency_table.parts, column)
            fits = np.ones(len(gene.values), dtype=bool)
            for limit in limits:
                limit.require_known(cheap)
                fits &= (cheap[limit.metric] <= limit.high) & (dear[limit.metric] >= limit.low)
            (indices,) = np.nonzero(fits)
            kept.append(indices if gene.when is None or len(indices) else np.array([0]))
        return kept

    def supernet(self, space: SearchSpace, classes: int, seed: int) -> ElasticModel:
        """Return the network with random weights, made elastic."""
        assert isinstance(space, ElasticSpace)
        return self.elastic_model(space, self.base.build(classes, seed=seed))

    def elastic_model(self, space: ElasticSpace, network: Any) -> ElasticModel:
        """Return a network of this one's structure, made elastic."""
        return ElasticModel(network, self._plan, space, (self.base.channels, self.side, self.side))

    def spec(self, space: SearchSpace, architecture: Any) -> ElasticSpec:
        """Return the spec of a subnet."""
        return ElasticSpec(self.base, architecture, self.side, resize=len(space.resolution) > 1)
