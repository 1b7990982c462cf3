"""Search spaces of networks that were made elastic: decisions with the names of the network's own parts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any

import numpy as np

from search_spaces.decisions import Decision
from search_spaces.files import from_json
from search_spaces.genome import Gene, Genome, Population
from search_spaces.ranges import Channels, Checked, Pixels, Range, checked
from search_spaces.saved import Saved
from search_spaces.values import FieldError, check_choices, shown

FIELDS = ("width", "depth", "kernel_size")
"""The fields of an elastic architecture besides its resolution; each holds numbers by the names of parts."""

Entries = tuple[tuple[str, int], ...]

Units = Annotated[int, Range(1, 2**20)]
"""A size in a network that may be anybody's."""

_USUAL = 4096  # sizes that are told to be legal at once, since decoding is full of them


@dataclass(frozen=True)
class ElasticArchitecture(Saved):
    """The sizes of one subnet of a network that was made elastic, by the names of the network's own parts.

    Frozen, hashable, without inactive parts, so equal networks are equal values.

    Args:
        resolution: side of the input image in pixels.
        width: name of a group of channels -> units that are kept: channels, or heads.
        depth: name of a run of blocks -> blocks that are kept, from its beginning.
        kernel_size: name of a convolution -> side of its kernel.

    Raises:
        ValueError: a field of the wrong type.
    """

    resolution: int
    width: Entries = ()
    depth: Entries = ()
    kernel_size: Entries = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "resolution", checked(Pixels, self.resolution, ("resolution",)))
        for name in FIELDS:
            given = getattr(self, name)
            entries = given.items() if isinstance(given, Mapping) else given
            object.__setattr__(self, name, _checked(name, entries))

    def to_json(self) -> str:
        """Return the canonical JSON text: sorted names, no spaces, empty fields left out."""
        entries = {name: dict(getattr(self, name)) for name in FIELDS}
        content = {"resolution": self.resolution} | {name: each for name, each in entries.items() if each}
        return json.dumps(content, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ElasticArchitecture:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: not JSON, or a field unknown, missing or of the wrong type.
        """
        return cls.from_fields(from_json(text, "an architecture"))

    @classmethod
    def from_fields(cls, given: Any) -> ElasticArchitecture:
        """Return the architecture of a mapping of fields, as JSON holds them.

        Raises:
            ValueError: a field unknown, missing or of the wrong type.
        """
        unknown = [name for name in _mapping(given) if name not in ("resolution", *FIELDS)]
        if unknown or "resolution" not in given:
            wrong = f"has no field {unknown[0]!r}" if unknown else "needs the field 'resolution'"
            raise ValueError(f"an elastic architecture {wrong}; legal: resolution, {', '.join(FIELDS)}")
        return cls(**given)


def _mapping(given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise FieldError([], f"an architecture is a mapping of fields, not {shown(given)}")
    return given


def _checked(name: str, entries: Iterable[Any]) -> Entries:
    """Return entries in the order of their names.

    Raises:
        FieldError: naming the field, the part and the value.
    """
    found: dict[str, int] = {}
    try:
        pairs = [(str(part), value) for part, value in entries]
    except (TypeError, ValueError) as error:
        raise FieldError([name], "is not a mapping from parts to numbers") from error
    for part, value in pairs:
        found[part] = value if type(value) is int and 0 < value < _USUAL else checked(Units, value, (name, part))
    return tuple(sorted(found.items()))


@dataclass(frozen=True)
class Part(Checked):
    """One part of a network that can have several sizes.

    Args:
        field: ``width``, ``depth`` or ``kernel_size``.
        name: name of the part.
        values: its sizes, ascending; the last one is that of the network itself.
        block: ``(run of blocks, number)`` if the part lies in one block of a run, counted from 0, and so is only there
            if the run is deeper than that.

    Raises:
        ValueError: naming the field, the part and what is legal.
    """

    field: str
    name: str
    values: tuple[Units, ...]
    block: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(f"{self.field}.{self.name}", self.values)

    @property
    def gene(self) -> str:
        """Name of the decision."""
        return f"{self.field}.{self.name}"


@dataclass(frozen=True)
class ElasticSpace(Checked):
    """All subnets of a network that was made elastic.

    Args:
        name: a short name.
        resolution: choices of the input side in pixels.
        parts: what can have several sizes.
        image_channels: channels of the input image.

    Raises:
        ValueError: two parts of one name in one field, or a part in a block of a run that is no part.
    """

    name: str
    resolution: tuple[Pixels, ...]
    parts: tuple[Part, ...] = ()
    image_channels: Channels = 3
    source: str = field(default="a network made elastic", compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices("resolution", self.resolution)
        genes = [part.gene for part in self.parts]
        twice = [gene for number, gene in enumerate(genes) if gene in genes[:number]]
        if twice:
            raise ValueError(f"two parts are called {twice[0]}")
        for part in self.parts:
            if part.block is not None and f"depth.{part.block[0]}" not in genes:
                raise ValueError(f"{part.gene} is in a block of {part.block[0]!r}, which is no run of blocks")

    @cached_property
    def genome(self) -> Genome:
        """The decisions with at least two values: the columns of a population of this space."""
        resolution = [Gene("resolution", self.resolution)] if len(self.resolution) > 1 else []
        parts = [Gene(each.gene, each.values, when=self._when(each)) for each in self.parts if len(each.values) > 1]
        return Genome((*resolution, *parts))

    def _when(self, part: Part) -> tuple[str, tuple[int, ...]] | None:
        if part.block is None:
            return None
        run, number = part.block
        depths = self._by_gene[f"depth.{run}"].values
        deep = tuple(index for index, depth in enumerate(depths) if depth > number)
        return None if len(deep) == len(depths) else (f"depth.{run}", deep)

    @cached_property
    def _by_gene(self) -> dict[str, Part]:
        return {part.gene: part for part in self.parts}

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Everything that is decided, with its legal values."""
        parts = (Decision(part.field, None, part.name, part.values) for part in self.parts)
        return (Decision("resolution", None, "", self.resolution), *parts)

    @property
    def size(self) -> int:
        """Number of different architectures."""
        return self.genome.size

    @cached_property
    def smallest(self) -> ElasticArchitecture:
        """The subnet with the smallest value of everything."""
        return self.decode(np.zeros((1, len(self.genome)), np.uint8))[0]

    @cached_property
    def largest(self) -> ElasticArchitecture:
        """The network itself."""
        return self.decode((self.genome.cards - 1).astype(np.uint8)[None])[0]

    def scaled(self, share: float) -> ElasticArchitecture:
        """Return the subnet with every width as near as can be to a share of the network's, and all else as it is.

        Args:
            share: from 0 to 1.
        """
        widths = {
            part.name: min(part.values, key=lambda value: abs(value - share * part.values[-1]))
            for part in self.parts
            if part.field == "width"
        }
        return self.architecture(width=widths)

    def sample(self, rng: np.random.Generator) -> ElasticArchitecture:
        """Return one architecture with every decision drawn uniformly; ``genome.sample`` draws many at once."""
        return self.decode(self.genome.sample(1, rng))[0]

    def canonical(self, population: Population) -> Population:
        """Return a copy in which every gene that does not count is 0, so that equal architectures are equal rows."""
        return self.genome.canonical(population)

    def encode(self, architectures: Sequence[ElasticArchitecture]) -> Population:
        """Return architectures as a canonical population, one row each.

        Raises:
            ValueError: an architecture is not in this space.
        """
        population = np.zeros((len(architectures), len(self.genome)), dtype=np.uint8)
        for row, architecture in zip(population, architectures):
            self.check(architecture)
            values = self._values(architecture)
            row[:] = [gene.values.index(values[gene.name]) if gene.name in values else 0 for gene in self.genome.genes]
        return population

    def decode(self, population: Population) -> list[ElasticArchitecture]:
        """Return the architecture of every row; genes that do not count are ignored.

        Raises:
            ValueError: not a population of this space's genome.
        """
        self.genome.check(population)
        sizes = self.sizes(population)
        active = self.active(population)
        columns = {part.gene: (sizes[part.gene].tolist(), active[part.gene].tolist()) for part in self.parts}
        resolutions = sizes["resolution"].tolist()
        return [self._architecture(row, resolution, columns) for row, resolution in enumerate(resolutions)]

    def _architecture(
        self, row: int, resolution: int, columns: Mapping[str, tuple[list[int], list[bool]]]
    ) -> ElasticArchitecture:
        fields: dict[str, list[tuple[str, int]]] = {name: [] for name in FIELDS}
        for part in self.parts:
            sizes, active = columns[part.gene]
            if active[row]:
                fields[part.field].append((part.name, sizes[row]))
        return ElasticArchitecture(resolution, **{name: tuple(entries) for name, entries in fields.items()})

    def sizes(self, population: Population) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]]:
        """Return the value of every decision in every row, by its name, shape (candidates,)."""
        found = {}
        for name, values in [("resolution", self.resolution), *((part.gene, part.values) for part in self.parts)]:
            choices = np.array(values, dtype=np.int64)
            column = population[:, self.genome.column(name)] if len(values) > 1 else np.zeros(len(population), np.uint8)
            found[name] = choices[column]
        return found

    def active(self, population: Population) -> dict[str, np.ndarray[Any, np.dtype[np.bool_]]]:
        """Return for every part whether a row has it, by the part's gene, shape (candidates,)."""
        sizes = self.sizes(population)
        everywhere = np.ones(len(population), dtype=bool)
        return {
            part.gene: everywhere if part.block is None else sizes[f"depth.{part.block[0]}"] > part.block[1]
            for part in self.parts
        }

    def check(self, architecture: ElasticArchitecture) -> None:
        """Refuse an architecture that this space does not hold.

        Raises:
            ValueError: naming the field, the part, the value and the legal ones.
        """
        if not isinstance(architecture, ElasticArchitecture):
            raise ValueError(f"space {self.name!r} holds elastic architectures, not {type(architecture).__name__}")
        values = self._values(architecture)
        self._check_value("resolution", values.pop("resolution"), self.resolution)
        depths = dict(architecture.depth)
        for part in self.parts:
            is_there = part.block is None or depths.get(part.block[0], 0) > part.block[1]
            value = values.pop(part.gene, None)
            if is_there and value is None:
                raise ValueError(f"{part.gene} is missing; space {self.name!r} holds: {_list(part.values)}")
            if not is_there and value is not None:
                raise ValueError(f"{part.gene} is {value}, but that block is left out; leave the entry out, too")
            if is_there:
                self._check_value(part.gene, value, part.values)
        if values:
            raise ValueError(f"{next(iter(values))} is no decision of space {self.name!r}; {self._names()}")

    def _check_value(self, gene: str, value: Any, legal: Sequence[int]) -> None:
        if value not in legal:
            raise ValueError(f"{gene} is {value}; space {self.name!r} holds: {_list(legal)}")

    def _names(self) -> str:
        return "legal: " + _list(["resolution", *self._by_gene])

    def _values(self, architecture: ElasticArchitecture) -> dict[str, int]:
        values = {"resolution": architecture.resolution}
        for name in FIELDS:
            values |= {f"{name}.{part}": value for part, value in getattr(architecture, name)}
        return values

    def architecture(self, given: Mapping[str, Any] | None = None, /, **fields: Any) -> ElasticArchitecture:
        """Return a checked architecture of its fields, given as a mapping (as JSON holds them) or as keywords.

        What is left out is as large as in the network itself.

        Raises:
            ValueError: a field or part that is unknown or illegal in this space.
        """
        chosen = {**_mapping({} if given is None else given), **fields}
        chosen.setdefault("resolution", self.resolution[-1])
        partial = ElasticArchitecture.from_fields(chosen)
        values = self._values(partial)
        depths = dict(partial.depth)
        for part in self.parts:
            run = part.block and self._by_gene[f"depth.{part.block[0]}"]
            if run is None or depths.get(run.name, run.values[-1]) > part.block[1]:  # type: ignore[index]
                values.setdefault(part.gene, part.values[-1])
        entries = {
            name: tuple((gene[len(name) + 1 :], v) for gene, v in values.items() if gene.startswith(f"{name}."))
            for name in FIELDS
        }
        architecture = ElasticArchitecture(partial.resolution, **entries)
        self.check(architecture)
        return architecture

    def restrict(self, architecture: ElasticArchitecture) -> ElasticSpace:
        """Return the space that holds only this architecture.

        Raises:
            ValueError: the architecture is not in this space.
        """
        self.check(architecture)
        values = self._values(architecture)
        kept = tuple(replace(part, values=(values[part.gene],)) for part in self.parts if part.gene in values)
        name = f"{self.name}-{architecture.key}"
        return replace(self, name=name, resolution=(architecture.resolution,), parts=kept)

    def cut(self, values: Mapping[str, Sequence[Any]]) -> ElasticSpace:
        """Return the space with fewer choices.

        Args:
            values: name of a decision, such as ``"depth.layer1"`` -> the choices that are left; others keep theirs.

        Raises:
            ValueError: a decision that this space does not have, a choice that it does not hold, or none left.
        """
        known = {"resolution": self.resolution} | {part.gene: part.values for part in self.parts}
        for name, left in values.items():
            if name not in known:
                raise ValueError(f"{name!r} is no decision of space {self.name!r}; {self._names()}")
            if not left or not {*left} <= {*known[name]}:
                raise ValueError(
                    f"the choices {_list(left)} of {name!r} are illegal; legal: some of {_list(known[name])}"
                )
        fewer = {name: tuple(v for v in choices if v in values.get(name, choices)) for name, choices in known.items()}
        parts = tuple(replace(part, values=fewer[part.gene]) for part in self.parts)
        return replace(self, resolution=fewer["resolution"], parts=parts)


def _list(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))
