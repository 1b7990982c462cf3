"""The decisions of a space in their fixed order: the one table between spaces, architectures and genomes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search_spaces.genome import Gene

if TYPE_CHECKING:
    from search_spaces.space import Space


@dataclass(frozen=True)
class Decision:
    """One entry of an architecture and the values it may take.

    Args:
        field: the architecture's field, for example ``"depth"``.
        position: the entry's place in that field; None where the field is one number.
        place: the name of the stage, ``"stem"`` or ``"head"``; empty for the resolution.
        values: the legal values, ascending.
        transformer_of: index of the hybrid stage whose transformer blocks this sizes; None for other entries.
        never: True where the entry is always None (the MLP ratio of a stage without transformer blocks).
    """

    field: str
    position: int | None
    place: str
    values: tuple[Any, ...]
    transformer_of: int | None = None
    never: bool = False

    @property
    def name(self) -> str:
        """Name of the decision and its gene: ``"depth.mb4"``."""
        return f"{self.field}.{self.place}" if self.place else self.field

    @property
    def label(self) -> str:
        """How messages name the entry: ``depth[3] (mb4)``."""
        return self.field if self.position is None else f"{self.field}[{self.position}] ({self.place})"

    def value_in(self, architecture: Any) -> Any:
        """This entry of an architecture."""
        entries = getattr(architecture, self.field)
        return entries if self.position is None else entries[self.position]


def list_decisions(space: Space) -> tuple[Decision, ...]:
    """Every decision of a space, also those with one value, in the order of its genome."""
    return tuple(_decisions(space))


def _decisions(space: Space) -> Iterator[Decision]:
    yield Decision("resolution", None, "", space.resolution)
    places = [("stem", space.stem.width), *((s.name, s.width) for s in space.stages), ("head", space.head.width)]
    for position, (place, width) in enumerate(places):
        yield Decision("width", position, place, width)
    for field in ("depth", "kernel_size", "expand_ratio"):
        for position, stage in enumerate(space.stages):
            yield Decision(field, position, stage.name, getattr(stage, field))
    if space.transformer is not None:
        for field in ("mlp_ratio", "windows"):
            for position, stage in enumerate(space.stages):
                owner = position if stage.hybrid else None
                yield Decision(field, position, stage.name, getattr(stage, field), owner, not stage.hybrid)


def list_genes(space: Space, decisions: tuple[Decision, ...]) -> tuple[Gene, ...]:
    """A gene for every decision with at least two values that some architecture needs."""
    genes = []
    for decision in decisions:
        when = None
        if decision.transformer_of is not None:
            depth = space.stages[decision.transformer_of].depth
            if depth == (1,):
                continue
            if 1 in depth:
                when = (f"depth.{decision.place}", tuple(i for i, d in enumerate(depth) if d > 1))
        if len(decision.values) > 1:
            genes.append(Gene(decision.name, decision.values, when=when))
    return tuple(genes)
