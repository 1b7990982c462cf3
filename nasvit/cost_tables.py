"""Cost tables of whole spaces, counted block by block on the meta device."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from nasvit.calibration import track_statistics
from nasvit.cost import BYTES, Cost, count_on_meta
from nasvit.elastic.base import Elastic
from nasvit.elastic.transformer import ElasticTransformerBlock
from nasvit.supernet import Supernet
from predictors.cost import CostTable, Part
from search_spaces import Space
from search_spaces.stages import Stage


@functools.lru_cache(maxsize=8)
def cost_table(space: Space, classes: int) -> CostTable:
    """Count every block that a space can hold, and fold the counts into tables.

    Args:
        space: the search space.
        classes: number of classes of the classifier.
    """
    return CostTable(_Builder(space, classes).parts(), len(space.genome))


class _Builder:
    """Counts the blocks of one space; equal blocks are counted once."""

    def __init__(self, space: Space, classes: int) -> None:
        self.space = space
        with torch.device("meta"):
            self.supernet = Supernet(space, classes)
        self.columns = {name: column for column, name in enumerate(space.genome.names)}
        self._counted: dict[Any, Cost] = {}

    def parts(self) -> list[Part]:
        """Return the table of the stem, of every stage and of the head."""
        head_width = self.space.head.width
        stem = self._part(
            {"resolution": self.space.resolution, "width.stem": self.space.stem.width},
            lambda resolution, width: self._stem(resolution, width),
        )
        stages = [self._stage(number, stage) for number, stage in enumerate(self.space.stages)]
        last = self.space.stages[-1]
        head = self._part(
            {"resolution": self.space.resolution, f"width.{last.name}": last.width, "width.head": head_width},
            lambda resolution, width, features: self._head(resolution, width, features),
        )
        return [stem, *stages, head]

    def _part(self, choices: dict[str, Sequence[Any]], counted: Callable[..., Cost]) -> Part:
        """Fill a table over all combinations; a decision with one choice is no gene and gets no axis."""
        shape = [len(values) for name, values in choices.items() if name in self.columns]
        columns = tuple(self.columns[name] for name in choices if name in self.columns)
        costs = [counted(*combination) for combination in itertools.product(*choices.values())]
        tables = [
            np.array([getattr(cost, field) for cost in costs], dtype=np.int64).reshape(shape)
            for field in ("macs", "params", "memory")
        ]
        return Part(columns, *tables)

    def _stem(self, resolution: int, width: int) -> Cost:
        channels = self.space.image_channels
        return self._count(self.supernet.stem, (channels, resolution, resolution), channels, width, image=0)

    def _head(self, resolution: int, width: int, features: int) -> Cost:
        side = self.space.feature_sizes(resolution)[-1]
        return self._count(self.supernet.head, (width, side, side), width, features, image=self._image(resolution))

    def _image(self, resolution: int) -> int:
        """Bytes of the input image: whoever calls the network holds it to the end."""
        return self.space.image_channels * resolution**2 * BYTES

    def _stage(self, number: int, stage: Stage) -> Part:
        before = self.space.stem if number == 0 else self.space.stages[number - 1]
        name = "stem" if number == 0 else self.space.stages[number - 1].name
        choices: dict[str, Sequence[Any]] = {
            "resolution": self.space.resolution,
            f"width.{name}": before.width,
            f"width.{stage.name}": stage.width,
            f"depth.{stage.name}": stage.depth,
            f"kernel_size.{stage.name}": stage.kernel_size,
            f"expand_ratio.{stage.name}": stage.expand_ratio,
        }
        if stage.hybrid:
            choices |= {f"mlp_ratio.{stage.name}": stage.mlp_ratio, f"windows.{stage.name}": stage.windows}
        return self._part(choices, lambda *chosen: self._stage_cost(number, stage, *chosen))

    def _stage_cost(
        self,
        number: int,
        stage: Stage,
        resolution: int,
        in_channels: int,
        channels: int,
        depth: int,
        kernel_size: int,
        expand_ratio: float,
        mlp_ratio: float = 1,
        windows: int = 1,
    ) -> Cost:
        """The first block, and as often as the depth says the one that follows it."""
        blocks: Any = self.supernet.stages[number]
        sides = self.space.feature_sizes(resolution)
        before, side, image = sides[number], sides[number + 1], self._image(resolution)
        first_shape, shape = (in_channels, before, before), (channels, side, side)
        first = self._count(blocks[0], first_shape, in_channels, channels, kernel_size, expand_ratio, image=image)
        if depth == 1:
            return first
        if isinstance(blocks[1], ElasticTransformerBlock):
            sizes = {"mlp_ratio": mlp_ratio, "windows": windows, "scale": (0, 0)}
            rest = self._count(blocks[1], shape, channels, side, image=image, **sizes)
        else:
            rest = self._count(blocks[1], shape, channels, channels, kernel_size, expand_ratio, image=image)
        again = depth - 1
        memory = max(first.memory, rest.memory)
        return Cost(first.macs + again * rest.macs, first.params + again * rest.params, memory)

    def _count(self, elastic: Elastic, shape: tuple[int, ...], *sizes: Any, image: int, **named: Any) -> Cost:
        key = (id(elastic), shape, sizes, tuple(named.items()))
        if key not in self._counted:
            plain: nn.Module = elastic.at(*sizes, **named)  # type: ignore[operator]
            track_statistics(plain)
            cost = count_on_meta(plain.eval(), torch.empty(1, *shape, device="meta"))
            self._counted[key] = Cost(cost.macs, cost.params, cost.memory + image)
        return self._counted[key]
