"""A network that was made elastic, taken apart into segments that are timed alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from nasvit.any_network import ElasticModel
from nasvit.any_network.plan import Plan, bare_copy
from nasvit.costs.latency.covering import Combination, covering, examples, needed, spread
from nasvit.costs.latency.interpolation import Tables, interpolated
from nasvit.costs.latency.recording import record
from nasvit.costs.latency.segments import Segment, segments_of
from nasvit.costs.latency.subjects import Apart, Subject
from nasvit.costs.latency.timed_modules import TimedModule, network_name
from nasvit.specs import Spec, elastic_plan
from predictors.elastic_latency import identity_of, load_network_table, table_of_parts
from predictors.latency import LatencyTable
from predictors.pool import distinct
from search_spaces.elastic import ElasticArchitecture, ElasticSpace
from search_spaces.genome import Population


@dataclass(frozen=True)
class Part:
    """A place in a network, for the combinations of the decisions that its segment depends on.

    Args:
        place: the place.
        columns: the population columns of those decisions.
        combinations: indices of their values -> name of the segment.
        is_whole: whether these are all combinations.
        block: run and number of the block that it is in, if that can be left out.
    """

    place: str
    columns: tuple[int, ...]
    combinations: Mapping[Combination, str]
    is_whole: bool
    block: tuple[str, int] | None

    def tables(self, space: ElasticSpace, milliseconds: Mapping[str, float]) -> Tables:
        """Return milliseconds by the names of decisions, one axis each; the sum of several if they are interpolated."""
        genes = [space.genome.genes[column] for column in self.columns]
        known = {combination: milliseconds[name] for combination, name in self.combinations.items()}
        if not self.is_whole:
            return interpolated([gene.name for gene in genes], [gene.values for gene in genes], known)
        table = np.zeros([len(gene.values) for gene in genes])
        for combination, each in known.items():
            table[combination] = each
        return [([gene.name for gene in genes], table)]


class Segments(Apart):
    """The segments of the subnets of a network.

    What a segment depends on is found by changing one decision after the other in the largest subnet. Then some subnets
    that together have every combination of these decisions are recorded, for the segments that they are made of.

    Args:
        network: the network; its weights do not matter.
        plan: what can be decided in it.
        space: its space.
        batch_size: images of one call.
    """

    def __init__(self, network: nn.Module, plan: Plan, space: ElasticSpace, batch_size: int) -> None:
        self._model = ElasticModel(bare_copy(network, plan.device), plan, space, ()).eval()
        self._space, self._batch = space, batch_size
        self._block_of = {path: (run.name, number) for run in plan.runs for number, path in enumerate(run.blocks)}

    def of(self, architecture: ElasticArchitecture) -> dict[str, Segment]:
        """Return the segments of one subnet by their places."""
        side = architecture.resolution
        subnet = self._model.extract(architecture, resize=False)
        recording = record(subnet, (self._batch, self._space.image_channels, side, side), frozenset(self._block_of))
        return {segment.place: segment for segment in segments_of(recording)}

    @cached_property
    def _found(self) -> tuple[list[Part], dict[str, TimedModule]]:
        """Return every part, and all segments by name."""
        genome, largest = self._space.genome, self._space.encode([self._space.largest])[0]
        whole = self.of(self._space.largest)
        columns = self._dependences(whole, largest)
        some = examples(genome)
        asked = {place: needed(each, genome.cards.tolist(), some) for place, each in columns.items()}
        rows = covering(columns, {place: each for place, (each, _) in asked.items()}, largest)
        met: dict[str, dict[Combination, str]] = {place: {} for place in whole}
        timed: dict[str, TimedModule] = {}
        for row, architecture in zip(rows, self._space.decode(rows), strict=True):
            for place, segment in self.of(architecture).items():
                combination = tuple(row[list(columns[place])].tolist())
                if combination in asked[place][0]:
                    met[place].setdefault(combination, segment.timed.name)
                    timed.setdefault(segment.timed.name, segment.timed)
        parts = [
            Part(place, columns[place], met[place], asked[place][1], self._removable(segment))
            for place, segment in whole.items()
        ]
        return parts, timed

    def _dependences(self, whole: Mapping[str, Segment], largest: Population) -> dict[str, tuple[int, ...]]:
        """Return for every place the columns of the decisions that change its segment."""
        columns: dict[str, list[int]] = {place: [] for place in whole}
        for column, gene in enumerate(self._space.genome.genes):
            if gene.name.startswith("depth."):
                continue
            row = largest.copy()
            row[column] = 0
            (architecture,) = self._space.decode(row[None])
            for place, segment in self.of(architecture).items():
                if segment.timed.name != whole[place].timed.name:
                    columns[place].append(column)
        return {place: tuple(each) for place, each in columns.items()}

    def _removable(self, segment: Segment) -> tuple[str, int] | None:
        """Return run and number of the block that a segment is in, if it can be left out."""
        run, number = self._block_of.get(segment.block, ("", 0))
        gene = f"depth.{run}"
        if gene not in self._space.genome.names:
            return None
        return (run, number) if min(self._depths(run)) <= number else None

    def _depths(self, run: str) -> tuple[int, ...]:
        genome = self._space.genome
        values: tuple[int, ...] = genome.genes[genome.column(f"depth.{run}")].values
        return values

    @property
    def blocks(self) -> list[TimedModule]:
        return [*self._found[1].values()]

    @property
    def yardstick(self) -> TimedModule:
        """A convolution that fits into the processor's cache with all that it needs.

        A segment of large maps would not do: its time depends on what the memory was used for before.
        """
        return TimedModule("yardstick", (1, 64, 14, 14), lambda: nn.Conv2d(64, 64, 3, padding=1).eval())

    def table(self, milliseconds: Mapping[str, float]) -> LatencyTable:
        return table_of_parts(self._space, self.recorded(milliseconds)["parts"], identity_of(self._space)["decisions"])

    def recorded(self, milliseconds: Mapping[str, float]) -> dict[str, Any]:
        parts = []
        for part in self._found[0]:
            for genes, table in part.tables(self._space, milliseconds):
                if part.block is not None:
                    run, number = part.block
                    genes, table = [*genes, f"depth.{run}"], table[..., None] * (np.array(self._depths(run)) > number)
                parts.append({"place": part.place, "decisions": genes, "milliseconds": table.tolist()})
        whole = sum(part.is_whole for part in self._found[0])
        return {"parts": parts, "interpolated": len(self._found[0]) - whole, "places": len(self._found[0])}


class NetworkSubject(Subject[ElasticSpace]):
    """A network that was made elastic.

    Args:
        base: its spec.
        space: its space.
        side: side of the images that it was made elastic with, in pixels.
    """

    def __init__(self, base: Spec, space: ElasticSpace, side: int) -> None:
        super().__init__(space)
        self.base, self.side = base, side
        self._models: dict[int, ElasticModel] = {}

    @property
    def network_identity(self) -> dict[str, Any]:
        """The spec of the network, as tables hold it."""
        return {"kind": self.base.kind, "spec": self.base.to_json()}

    @property
    def identity(self) -> dict[str, Any]:
        return identity_of(self.space) | {"network": self.network_identity}

    def take_apart(self, classes: int, batch_size: int) -> Apart:
        return Segments(self._model(classes).network, self._plan(classes), self.space, batch_size)

    def choose(self, count: int, seed: int) -> list[ElasticArchitecture]:
        """Return the smallest, the largest, and random subnets of all sizes."""
        ends = self.space.encode([self.space.smallest, self.space.largest])
        drawn = self.space.canonical(spread(self.space.genome, 4 * count, seed))
        return self.space.decode(distinct(np.concatenate([ends, drawn]))[:count])

    def network(self, architecture: ElasticArchitecture, classes: int, batch_size: int) -> TimedModule:
        def make() -> nn.Module:
            return self._model(classes).extract(architecture, resize=False).eval()

        side, channels = architecture.resolution, self.space.image_channels
        stride = (channels * side * side, 1, channels * side, channels)
        return TimedModule(network_name(architecture), (batch_size, channels, side, side), make, stride)

    def load(self, path: Path) -> LatencyTable:
        return load_network_table(path, self.space, self.network_identity)

    def _model(self, classes: int) -> ElasticModel:
        if classes not in self._models:
            network = self.base.build(classes)
            self._models[classes] = ElasticModel(network, self._plan(classes), self.space, ()).eval()
        return self._models[classes]

    def _plan(self, classes: int) -> Plan:
        return elastic_plan(self.base, classes, self.side)
