"""A space of backbones with a head, taken apart into the backbones' blocks and the head."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from nasvit.backbones.ways import Stages
from nasvit.costs.blocks import plain_block
from nasvit.costs.dense import Channels, SizedBlock, head_alone, narrowest, one_by_one, sized_parts, taken_maps, tapped
from nasvit.costs.latency.subjects import Apart, Subject
from nasvit.costs.latency.timed_modules import TimedModule, choose_networks, network_name
from nasvit.heads.dense import DenseNetwork
from nasvit.heads.head import Size
from nasvit.heads.kinds import AnyHead
from nasvit.supernets.supernet import build_subnet
from predictors.arrays import Floats
from predictors.blocks import BlockKey, fingerprint
from predictors.elastic_latency import identity_of, load_network_table, table_of_parts
from predictors.latency import LatencyTable
from search_spaces import Architecture, Space

_ANY = 1
"""Classes of a backbone, whose classifier is left out."""


class _Parts(Apart):
    """The blocks of the backbones at the size of the images, and the head alone.

    The head is timed on the narrowest maps, and with each other width of each of them.

    Args:
        subject: what is taken apart.
        classes: number of classes.
        batch_size: images of one call.
    """

    def __init__(self, subject: DenseSubject, classes: int, batch_size: int) -> None:
        self._space, self._head, self._size = subject.space, subject.head, subject.size
        self._classes, self._batch = classes, batch_size
        self._parts = sized_parts(self._space, self._size)
        self._maps = taken_maps(self._space, self._head, self._size)

    @cached_property
    def blocks(self) -> list[TimedModule]:  # type: ignore[override]
        found = {}
        for part in self._parts:
            for blocks in part.combinations:
                for block, size, _ in blocks:
                    found[block, size] = self._block(block, size)
        heads = dict.fromkeys(channels for each in one_by_one(self._maps) for channels in each)
        return [*found.values(), *map(self._alone, heads)]

    def _block(self, block: BlockKey, size: Size) -> TimedModule:
        shape = (self._batch, block.in_channels, *size)
        return TimedModule(_block_name(block, size), shape, partial(plain_block, self._space, block, _ANY))

    def _alone(self, channels: Channels) -> TimedModule:
        make = partial(head_alone, self._head, self._maps, channels, self._classes, self._size)
        shape = (self._batch, make().numbers)
        return TimedModule(_head_name(channels), shape, make, stride=(shape[1], 1))

    def table(self, milliseconds: Mapping[str, float]) -> LatencyTable:
        return table_of_parts(self._space, self.recorded(milliseconds)["parts"], identity_of(self._space)["decisions"])

    def recorded(self, milliseconds: Mapping[str, float]) -> dict[str, Any]:
        names = self._space.genome.names
        return {
            "parts": [
                {"decisions": [names[column] for column in columns], "milliseconds": table.tolist()}
                for columns, table in self._tables(milliseconds)
            ]
        }

    def _tables(self, milliseconds: Mapping[str, float]) -> Iterator[tuple[Sequence[int], Floats]]:
        """Yield milliseconds with an axis for each of some population columns."""
        for part in self._parts:
            sums = [self._sum(blocks, milliseconds) for blocks in part.combinations]
            yield part.columns, np.array(sums).reshape(part.shape)
        least = milliseconds[_head_name(narrowest(self._maps))]
        yield (), np.array(least)
        for taken, every in zip(self._maps, one_by_one(self._maps), strict=True):
            if taken.columns:
                yield taken.columns, np.array([milliseconds[_head_name(channels)] - least for channels in every])

    @staticmethod
    def _sum(blocks: Sequence[SizedBlock], milliseconds: Mapping[str, float]) -> float:
        return sum(times * milliseconds[_block_name(block, size)] for block, size, times in blocks)


def _block_name(block: BlockKey, size: Size) -> str:
    return f"{block.name} at {size[0]}x{size[1]}"


def _head_name(channels: Channels) -> str:
    return f"head {'-'.join(map(str, channels))}"


class DenseSubject(Subject[Space]):
    """A space of backbones, each of them with the same kind of head.

    Args:
        space: what :func:`nasvit.costs.dense.as_backbones` returned for the head.
        head: the head.
        size: height and width of the images.
    """

    def __init__(self, space: Space, head: AnyHead, size: Size) -> None:
        super().__init__(space)
        self.head, self.size = head, size

    @property
    def _network(self) -> dict[str, Any]:
        """Space, head and size, as tables hold them."""
        spec = {"fingerprint": fingerprint(self.space), "head": asdict(self.head), "size": self.size}
        found: dict[str, Any] = json.loads(json.dumps({"kind": "backbones with a head", "spec": spec}))
        return found

    @property
    def identity(self) -> dict[str, Any]:
        return identity_of(self.space) | {"network": self._network}

    def take_apart(self, classes: int, batch_size: int) -> Apart:
        return _Parts(self, classes, batch_size)

    def choose(self, count: int, seed: int) -> list[Architecture]:
        return choose_networks(self.space, count, seed)

    def network(self, architecture: Architecture, classes: int, batch_size: int) -> TimedModule:
        def make() -> nn.Module:
            taken = tapped(self.space, self.head.strides)
            network = build_subnet(self.space, architecture, _ANY)
            backbone = Stages(network.stem, list(network.stages), taken)
            head = self.head.build([architecture.width[stage + 1] for stage in taken], classes)
            return DenseNetwork(backbone, head).eval()

        return TimedModule(network_name(architecture), (batch_size, self.space.image_channels, *self.size), make)

    def load(self, path: Path) -> LatencyTable:
        return load_network_table(path, self.space, self._network)
