"""What a latency table is made of: what the subnets of a search space are taken apart into, and whole ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from nasvit.costs.latency.timed_modules import TimedModule, choose_networks, timed_blocks, timed_network
from predictors.blocks import fingerprint
from predictors.latency import LatencyTable, load_table, space_table
from search_spaces import Architecture, SearchSpace, Space

S = TypeVar("S", bound=SearchSpace)


class Apart(ABC):
    """The subnets of a space, taken apart."""

    @property
    @abstractmethod
    def blocks(self) -> list[TimedModule]:
        """Everything that they are put together of, once."""

    @property
    def yardstick(self) -> TimedModule:
        """What everything is compared with: a block from the middle of the network."""
        return self.blocks[len(self.blocks) // 2]

    @abstractmethod
    def table(self, milliseconds: Mapping[str, float]) -> LatencyTable:
        """Return the plain sums, of the milliseconds of every block by its name."""

    def recorded(self, milliseconds: Mapping[str, float]) -> dict[str, Any]:
        """Return what the file of a table says besides how long every block takes."""
        return {}


class Subject(ABC, Generic[S]):
    """What is measured.

    Args:
        space: its subnets.
    """

    def __init__(self, space: S) -> None:
        self.space = space

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What a table says that it is of, ``name`` among it."""

    @abstractmethod
    def take_apart(self, classes: int, batch_size: int) -> Apart:
        """Return what subnets are put together of."""

    @abstractmethod
    def choose(self, count: int, seed: int) -> list[Any]:
        """Return the smallest and the largest subnet, and then random ones, all different."""

    @abstractmethod
    def network(self, architecture: Any, classes: int, batch_size: int) -> TimedModule:
        """Return a whole subnet as a module to time."""

    @abstractmethod
    def load(self, path: Path) -> LatencyTable:
        """Read a table of this subject.

        Raises:
            ValueError: if it is none, or of something else.
        """


@dataclass(frozen=True)
class _Blocks(Apart):
    """The blocks of a search space."""

    space: Space
    classes: int
    batch_size: int

    @property
    def blocks(self) -> list[TimedModule]:
        return timed_blocks(self.space, self.classes, self.batch_size)

    def table(self, milliseconds: Mapping[str, float]) -> LatencyTable:
        return space_table(self.space, milliseconds)


class SpaceSubject(Subject[Space]):
    """A search space, whose subnets are put together of blocks."""

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": self.space.name, "fingerprint": fingerprint(self.space)}

    def take_apart(self, classes: int, batch_size: int) -> Apart:
        return _Blocks(self.space, classes, batch_size)

    def choose(self, count: int, seed: int) -> list[Architecture]:
        return choose_networks(self.space, count, seed)

    def network(self, architecture: Architecture, classes: int, batch_size: int) -> TimedModule:
        return timed_network(self.space, architecture, classes, batch_size)

    def load(self, path: Path) -> LatencyTable:
        return load_table(path, self.space)
