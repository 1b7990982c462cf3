"""The decisions of a space in their fixed order: the table between spaces, architectures and genomes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search_spaces.architecture import ALWAYS
from search_spaces.genome import Gene
from search_spaces.stages import SIZES

if TYPE_CHECKING:
    from search_spaces.space import Space


@dataclass(frozen=True)
class Decision:
    """One entry of an architecture and the values it may take.

    Args:
        field: the architecture's field, for example ``"depth"``.
        position: index of the entry in that field; None where the field is one number.
        place: name of the stage, ``"stem"`` or ``"head"``; empty for the resolution.
        values: the legal values, ascending.
        after_first_of: index of the stage of which this sizes only blocks after the first, so that there is no such
            entry at depth 1 (the MLP ratio of a hybrid stage, the kernel where the first block has its own); None for
            other entries.
        never: True where the entry is always None (the MLP ratio of a stage without transformer blocks).
    """

    field: str
    position: int | None
    place: str
    values: tuple[Any, ...]
    after_first_of: int | None = None
    never: bool = False

    @property
    def name(self) -> str:
        """Name of the decision and its gene: ``"depth.mb4"``."""
        return f"{self.field}.{self.place}" if self.place else self.field

    @property
    def label(self) -> str:
        """Name of the entry in messages: ``depth[3] (mb4)``."""
        return self.field if self.position is None else f"{self.field}[{self.position}] ({self.place})"

    def value_in(self, architecture: Any) -> Any:
        """Return the value of this entry in an architecture."""
        entries = getattr(architecture, self.field)
        return entries if self.position is None else entries[self.position]


def list_decisions(space: Space) -> tuple[Decision, ...]:
    """Return every decision of a space, also those with one value, in the order of its genome."""
    return tuple(_decisions(space))


def _decisions(space: Space) -> Iterator[Decision]:
    yield Decision("resolution", None, "", space.resolution)
    places = [("stem", space.stem.width), *((s.name, s.width) for s in space.stages), ("head", space.head.width)]
    for position, (place, width) in enumerate(places):
        yield Decision("width", position, place, width)
    for position, stage in enumerate(space.stages):
        yield Decision("depth", position, stage.name, stage.depth)
    for field in SIZES:
        if field in ALWAYS or any(any(stage.sized_by(field)) for stage in space.stages):
            for position, stage in enumerate(space.stages):
                first, rest = stage.sized_by(field)
                later = position if rest and not first else None
                yield Decision(field, position, stage.name, getattr(stage, field), later, not (first or rest))


def list_genes(space: Space, decisions: tuple[Decision, ...]) -> tuple[Gene, ...]:
    """Return a gene for every decision with at least two values that some architecture needs."""
    genes = []
    for decision in decisions:
        when = None
        if decision.after_first_of is not None:
            depth = space.stages[decision.after_first_of].depth
            if depth == (1,):
                continue
            if 1 in depth:
                when = (f"depth.{decision.place}", tuple(i for i, d in enumerate(depth) if d > 1))
        if len(decision.values) > 1:
            genes.append(Gene(decision.name, decision.values, when=when))
    return tuple(genes)
