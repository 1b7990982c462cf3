"""What searches, predictors and cost tables need of a space, described in a file or found in a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from search_spaces.genome import Genome, Population

if TYPE_CHECKING:
    from typing_extensions import Self

    from search_spaces.decisions import Decision


class Subnet(Protocol):
    """The sizes of one subnet, as a frozen value: :class:`Architecture` or :class:`ElasticArchitecture`."""

    @property
    def resolution(self) -> int:
        """Side of the input image in pixels."""

    @property
    def key(self) -> str:
        """A text equal exactly for equal subnets: for file names and caches."""

    def to_json(self) -> str:
        """Return the canonical JSON text."""


class SearchSpace(Protocol):
    """All subnets that one supernet holds: :class:`Space` or :class:`ElasticSpace`."""

    @property
    def name(self) -> str:
        """A short name."""

    @property
    def resolution(self) -> tuple[int, ...]:
        """Choices of the input side in pixels, ascending."""

    @property
    def image_channels(self) -> int:
        """Channels of the input image."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Everything that is decided, with its legal values."""

    @property
    def genome(self) -> Genome:
        """The decisions with at least two values: the columns of a population of this space."""

    @property
    def size(self) -> int:
        """Number of different architectures."""

    @property
    def smallest(self) -> Any:
        """The subnet with the smallest value of everything."""

    @property
    def largest(self) -> Any:
        """The subnet with the largest value of everything."""

    def sample(self, rng: np.random.Generator) -> Any:
        """Return one architecture with every decision drawn uniformly."""

    def canonical(self, population: Population) -> Population:
        """Return a copy in which every gene that does not count is 0, so that equal architectures are equal rows."""

    def encode(self, architectures: Sequence[Any]) -> Population:
        """Return architectures as a canonical population, one row each."""

    def decode(self, population: Population) -> list[Any]:
        """Return the architecture of every row."""

    def check(self, architecture: Any) -> None:
        """Refuse an architecture that this space does not hold."""

    def architecture(self, given: Mapping[str, Any] | None = None, /, **fields: Any) -> Any:
        """Return a checked architecture of its fields."""

    def restrict(self, architecture: Any) -> Self:
        """Return the space that holds only this architecture."""

    def cut(self, values: Mapping[str, Sequence[Any]]) -> Self:
        """Return the space with fewer choices."""
