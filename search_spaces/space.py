"""Search spaces: the subnets of a supernet, encoded as rows of integers and decoded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from search_spaces.architecture import PER_STAGE, Architecture, check_field_names, checked_entries
from search_spaces.decisions import Decision, list_decisions, list_genes
from search_spaces.genome import Genome, Population
from search_spaces.options import Activation, MBConvOptions, TransformerOptions
from search_spaces.ranges import Channels, Checked, Pixels
from search_spaces.stages import Head, Stage, Stem
from search_spaces.values import FieldError, check_choices

_MOST_STAGES, _MOST_COMBINATIONS = 64, 65_536


@dataclass(frozen=True)
class Space(Checked):
    """All subnets that one supernet holds.

    Args:
        name: a short name.
        source: origin of the space.
        resolution: choices of the input side in pixels.
        stem: first convolution.
        stages: stages in order.
        head: last layers.
        activation: name of the activation everywhere, except inside squeeze-and-excite.
        mbconv: behavior of all MBConv blocks; its rounding and gates are those of Ghost blocks too.
        transformer: behavior of all transformer blocks; None exactly if no stage is hybrid.
        image_channels: channels of the input image.

    Raises:
        ValueError: naming the field, the value and the legal ones.
    """

    name: str
    source: str
    resolution: tuple[Pixels, ...]
    stem: Stem
    stages: tuple[Stage, ...]
    head: Head
    activation: Activation = "swish"
    mbconv: MBConvOptions = field(default_factory=MBConvOptions)
    transformer: TransformerOptions | None = None
    image_channels: Channels = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices("resolution", self.resolution)
        if not 1 <= len(self.stages) <= _MOST_STAGES:
            raise FieldError(["stages"], f"holds {len(self.stages)} stages; legal: 1 to {_MOST_STAGES}")
        names = [stage.name for stage in self.stages]
        for position, name in enumerate(names):
            if name in (*names[:position], "stem", "head"):
                raise FieldError(["stages", position, "name"], f"{name!r} is taken; every part needs its own name")
        self._check_transformer()
        self._check_combinations()
        self._check_trims()

    def _check_combinations(self) -> None:
        """Refuse more combinations of choices than can be counted one by one."""
        before: Stem | Stage = self.stem
        for position, stage in enumerate(self.stages):
            shared = [len(self.resolution), len(before.width)]
            count = max(math.prod([*shared, *(len(getattr(stage, name)) for name in part)]) for part in stage.parts)
            if count > _MOST_COMBINATIONS:
                problem = "what it is made of, the resolution and the width before it have"
                told = f"{problem} {count} combinations; legal: {_MOST_COMBINATIONS} at most, so give fewer choices"
                raise FieldError(["stages", position], told)
            before = stage

    def _check_trims(self) -> None:
        """Refuse maps that a shortcut would not fit, or that vanish."""
        for position, stage in enumerate(self.stages):
            if stage.trim and self.mbconv.shortcut != "identity":
                raise FieldError(["stages", position, "trim"], 'needs "mbconv: {shortcut: identity}"; legal: 0')
            if stage.trim and min(self.feature_sizes(min(self.resolution))[position + 1 :]) < 1:
                raise FieldError(["stages", position, "trim"], "leaves nothing of the map at the least resolution")

    def _check_transformer(self) -> None:
        hybrid = [position for position, stage in enumerate(self.stages) if stage.hybrid]
        if not hybrid and self.transformer is not None:
            raise FieldError(["transformer"], "no stage has transformer blocks; leave it out or make a stage hybrid")
        for position in hybrid:
            if self.transformer is None:
                raise FieldError(["stages", position, "block"], 'a hybrid stage needs "transformer:" options')
            self._check_heads(position, self.transformer.head_dim)
            self._check_windows(position)

    def _check_heads(self, position: int, head_dim: int) -> None:
        odd = [width for width in self.stages[position].width if width % head_dim]
        if odd:
            legal = f"multiples of head_dim {head_dim}"
            raise FieldError(["stages", position, "width"], f"{odd[0]} does not split into heads; legal: {legal}")

    def _check_windows(self, position: int) -> None:
        stage = self.stages[position]
        sides = {resolution: self.feature_sizes(resolution)[position + 1] for resolution in self.resolution}
        for windows in stage.windows:
            broken = {resolution: side for resolution, side in sides.items() if side % windows}
            if broken and stage.depth != (1,):
                met = ", ".join(f"{side} at resolution {resolution}" for resolution, side in sides.items())
                legal = [k for k in range(1, min(sides.values()) + 1) if all(s % k == 0 for s in sides.values())]
                problem = f"{windows} does not divide every side of the stage's map ({met}); legal: {legal}"
                raise FieldError(["stages", position, "windows"], problem)

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Every entry of an architecture with its legal values, in the order of the genome."""
        return list_decisions(self)

    @cached_property
    def genome(self) -> Genome:
        """The decisions with at least two values: the columns of a population of this space."""
        return Genome(list_genes(self, self.decisions))

    @property
    def size(self) -> int:
        """Number of different architectures."""
        return self.genome.size

    @cached_property
    def smallest(self) -> Architecture:
        """The subnet with the smallest value of everything, and the most attention windows."""
        return self._extreme(0, windows=-1)

    @cached_property
    def largest(self) -> Architecture:
        """The subnet with the largest value of everything, and the fewest attention windows."""
        return self._extreme(-1, windows=0)

    def feature_sizes(self, resolution: int) -> tuple[int, ...]:
        """Return the side of the map after the stem and after every stage: a stride of 2 halves, rounding up.

        Where a stage's ``trim`` is 1, it is one less first, and then halved, rounding down.
        """
        sides = [resolution]
        for stride, trim in ((self.stem.stride, 0), *((stage.stride, stage.trim) for stage in self.stages)):
            sides.append((sides[-1] - 1 - 2 * trim) // stride + 1)
        return tuple(sides[1:])

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Return one architecture with every decision drawn uniformly; ``genome.sample`` draws many at once."""
        return self.decode(self.genome.sample(1, rng))[0]

    def canonical(self, population: Population) -> Population:
        """Return a copy in which every gene that does not count is 0, so that equal architectures are equal rows."""
        return self.genome.canonical(population)

    def encode(self, architectures: Sequence[Architecture]) -> Population:
        """Return architectures as a canonical population, one row each.

        Raises:
            ValueError: an architecture is not in this space.
        """
        for architecture in architectures:
            self.check(architecture)
        population = np.zeros((len(architectures), len(self.genome)), dtype=np.uint8)
        for column, (decision, index_of) in enumerate(self._columns):
            population[:, column] = [index_of.get(decision.value_in(a), 0) for a in architectures]
        return population

    def decode(self, population: Population) -> list[Architecture]:
        """Return the architecture of every row; genes that do not count are ignored.

        Raises:
            ValueError: not a population of this space's genome.
        """
        self.genome.check(population)
        if not len(population):
            return []
        entries = [self._entries(decision, population) for decision in self.decisions]
        fields: dict[str, list[Any]] = {decision.field: [] for decision in self.decisions}
        for decision, column in zip(self.decisions, entries):
            fields[decision.field].append(column)
        resolutions = fields.pop("resolution")[0]
        rows = zip(resolutions, *(zip(*columns) for columns in fields.values()))
        return [Architecture(row[0], **dict(zip(fields, row[1:]))) for row in rows]

    def check(self, architecture: Architecture) -> None:
        """Refuse an architecture that this space does not hold.

        Raises:
            ValueError: naming the field, the stage, the value and the legal ones.
        """
        for name in ("width", *PER_STAGE):
            self._check_length(name, len(getattr(architecture, name)))
        for decision in self.decisions:
            value = decision.value_in(architecture)
            if value not in (legal := self._legal(decision, architecture.depth)):
                raise ValueError(f"{decision.label} is {value}; space {self.name!r} holds: {_list(legal)}")

    def architecture(self, given: Mapping[str, Any] | None = None, /, **fields: Any) -> Architecture:
        """Return a checked architecture of its fields, given as a mapping (as JSON holds them) or as keywords.

        A field of which every entry has one legal value may be left out.

        Raises:
            ValueError: a field that is unknown, missing or illegal in this space.
        """
        chosen = {**check_field_names({} if given is None else given), **fields}
        check_field_names(fields)
        if "depth" not in chosen:
            chosen["depth"] = self._only_value("depth")
        depth = checked_entries("depth", chosen["depth"])
        self._check_length("depth", len(depth))
        for name in ("resolution", "width", *PER_STAGE):
            if name not in chosen:
                chosen[name] = self._only_value(name, depth)
        architecture = Architecture(**chosen)
        self.check(architecture)
        return architecture

    def restrict(self, architecture: Architecture) -> Space:
        """Return the space that holds only this architecture, to train one subnet from scratch.

        Raises:
            ValueError: the architecture is not in this space.
        """
        self.check(architecture)
        return replace(
            self,
            name=f"{self.name}-{architecture.key}",
            resolution=(architecture.resolution,),
            stem=replace(self.stem, width=architecture.width[:1]),
            stages=tuple(_only(stage, i, architecture) for i, stage in enumerate(self.stages)),
            head=replace(self.head, width=architecture.width[-1:]),
        )

    def cut(self, values: Mapping[str, Sequence[Any]]) -> Space:
        """Return the space with fewer choices.

        Args:
            values: name of a decision, such as ``"depth.mb4"`` -> the choices that are left; others keep theirs.

        Raises:
            ValueError: a decision that this space does not have, a choice that it does not hold, or none left.
        """
        decisions = {decision.name: decision for decision in self.decisions}
        for name, left in values.items():
            if name not in decisions:
                raise ValueError(f"{name!r} is no decision of space {self.name!r}; legal: {_list([*decisions])}")
            if not left or not {*left} <= {*decisions[name].values}:
                legal = f"some of {_list(decisions[name].values)}"
                raise ValueError(f"the choices {_list(left)} of {name!r} are illegal; legal: {legal}")

        def fewer(name: str, choices: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(choice for choice in choices if choice in values.get(name, choices))

        def fewer_in(stage: Stage) -> Stage:
            chosen: dict[str, Any] = {}
            for name in ("width", *PER_STAGE):
                chosen[name] = fewer(f"{name}.{stage.name}", getattr(stage, name))
            return replace(stage, **chosen)

        return replace(
            self,
            resolution=fewer("resolution", self.resolution),
            stem=replace(self.stem, width=fewer("width.stem", self.stem.width)),
            stages=tuple(map(fewer_in, self.stages)),
            head=replace(self.head, width=fewer("width.head", self.head.width)),
        )

    @cached_property
    def _columns(self) -> list[tuple[Decision, dict[Any, int]]]:
        """For every gene: its decision, and the index of each of its values."""
        by_name = {decision.name: decision for decision in self.decisions}
        return [(by_name[gene.name], {v: i for i, v in enumerate(gene.values)}) for gene in self.genome.genes]

    def _extreme(self, index: int, windows: int) -> Architecture:
        chosen: dict[str, list[Any]] = {decision.field: [] for decision in self.decisions}
        for decision in self.decisions:
            legal = self._legal(decision, chosen.get("depth", []))
            chosen[decision.field].append(legal[windows if decision.field == "windows" else index])
        return Architecture(chosen.pop("resolution")[0], **{name: tuple(v) for name, v in chosen.items()})

    def _legal(self, decision: Decision, depth: Sequence[Any]) -> tuple[Any, ...]:
        """Return the legal values of a decision, given the depth of every stage."""
        if decision.never or (decision.after_first_of is not None and depth[decision.after_first_of] == 1):
            return (None,)
        return decision.values

    def _only_value(self, name: str, depth: Sequence[Any] = ()) -> Any:
        """Return the value of a field that was left out, if there is no choice."""
        entries = [self._legal(decision, depth) for decision in self.decisions if decision.field == name]
        for legal in entries:
            if len(legal) > 1:
                raise ValueError(f"field {name!r} is missing and not decided by space {self.name!r}: {_list(legal)}")
        values = tuple(legal[0] for legal in entries)
        return values[0] if name == "resolution" else values

    def _check_length(self, name: str, length: int) -> None:
        expected = sum(decision.field == name for decision in self.decisions)
        if length != expected:
            raise ValueError(f"{name} has {length} entries; space {self.name!r} holds: {expected} entries")

    def _entries(self, decision: Decision, population: Population) -> list[Any]:
        """Return the value of a decision in every row."""
        if decision.never:
            return [None] * len(population)
        chosen = self._chosen(decision, population)
        if decision.after_first_of is None:
            return chosen
        depth = next(d for d in self.decisions if d.field == "depth" and d.position == decision.position)
        return [None if d == 1 else value for value, d in zip(chosen, self._chosen(depth, population))]

    def _chosen(self, decision: Decision, population: Population) -> list[Any]:
        if decision.name not in self.genome.names:
            return [decision.values[0]] * len(population)
        indices = population[:, self.genome.column(decision.name)]
        return [decision.values[index] for index in indices.tolist()]


def _only(stage: Stage, position: int, architecture: Architecture) -> Stage:
    """Return the stage with the architecture's values as its only choices; unused fields keep their first choice."""
    chosen: dict[str, Any] = {"width": (architecture.width[position + 1],)}
    for name in PER_STAGE:
        entries = getattr(architecture, name)
        value = entries[position] if entries else None
        chosen[name] = getattr(stage, name)[:1] if value is None else (value,)
    return replace(stage, **chosen)


def _list(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))
