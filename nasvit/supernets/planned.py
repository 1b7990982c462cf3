"""Networks whose channels are planned layer by layer and share one set of weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from nasvit.elastic.ends import ElasticPooledHead, ElasticStem
from nasvit.elastic.initialization import initialize
from nasvit.elastic.planned_blocks import ElasticBlock, ElasticInvertedResidual, ElasticResidual
from nasvit.elastic.shuffle import ElasticShuffleBlock, ElasticSplitShuffleBlock
from nasvit.elastic.unit import NormFactory, Switch
from nasvit.layers.network import Network
from nasvit.models.family import BlockKind, Family
from nasvit.models.plan import ChannelPlan
from nasvit.supernets.shared_network import SharedNetwork

BLOCKS: dict[BlockKind, type[ElasticBlock]] = {
    "inverted": ElasticInvertedResidual,
    "bottleneck": ElasticResidual,
    "basic": ElasticResidual,
    "shuffle": ElasticShuffleBlock,
    "split_shuffle": ElasticSplitShuffleBlock,
}


class PlannedNetwork(SharedNetwork):
    """All networks of a family up to the largest of some channel plans, sharing one set of weights.

    Base of slimmable and of augmented networks, which decide what ``at`` takes and which batch norms there are.

    Args:
        family: everything but the channels.
        plans: the channels at each switch; the weights are as large as the largest of them.
        classes: number of classes.
        norm: builds a batch norm from the channels at each switch.
        head_norm: builds that of the head.
        seed: decides the initial weights.
        image_channels: channels of the images.

    Raises:
        ValueError: if a plan does not fit the family, or there is less than one class.
    """

    def __init__(
        self,
        family: Family,
        plans: Sequence[ChannelPlan],
        classes: int,
        *,
        norm: NormFactory,
        head_norm: NormFactory,
        seed: int = 0,
        image_channels: int = 3,
    ) -> None:
        super().__init__()
        if classes < 1:
            raise ValueError(f"classes={classes}; a classifier needs at least 1")
        self.family, self.classes, self.seed = family, classes, seed
        for plan in plans:
            family.split(plan.channels)
        columns = tuple(zip(*(plan.channels for plan in plans), strict=True))
        self.largest_plan = ChannelPlan(tuple(max(column) for column in columns))
        parts = family.split(columns)
        self.stem = ElasticStem(family.stem, image_channels, parts.stem, norm)
        self.stages = nn.ModuleList()
        widths = parts.stem
        for blocks, chosen in zip(family.stages, parts.stages, strict=True):
            stage = nn.ModuleList()
            for block, decided in zip(blocks, chosen, strict=True):
                stage.append(BLOCKS[block.kind](block, widths, decided, norm))
                widths = decided[-1]
            self.stages.append(stage)
        self.head = ElasticPooledHead(family.head, widths, parts.head, classes, head_norm)
        initialize(self, seed)

    def network_at(self, plan: ChannelPlan, switch: Switch) -> Network:
        """Return the subnet of one plan as a plain network that shares this one's weights.

        Args:
            plan: the channels of every layer.
            switch: which subnet its batch norms are those of.

        Raises:
            ValueError: if the plan does not fit the family, or a layer holds no such channels.
            RuntimeError: if a gradient was replaced, as by ``optimizer.zero_grad()``.
        """
        parts = self.family.split(plan.channels)
        self.bind()
        channels = parts.stem
        stages: list[list[nn.Module]] = []
        for blocks, chosen in zip(self.stages, parts.stages, strict=True):
            stages.append([])
            for block, decided in zip(blocks, chosen, strict=True):  # type: ignore[call-overload]
                stages[-1].append(block.at(channels, decided, switch))
                channels = decided[-1]
        stem, head = self.stem.at(parts.stem, switch), self.head.at(channels, parts.head, switch)
        return self.as_live(Network(None, stem, stages, head))

    def fixed_family(self) -> Family:
        """Return the family with what followed from the switches written down, so that fewer switches change nothing.

        Which blocks add their input, and how far gates squeeze, is decided by all switches together.
        """
        stages = [[block.fixed() for block in blocks] for blocks in self.stages]  # type: ignore[attr-defined]
        return replace(self.family, stages=tuple(map(tuple, stages)))

    def extra_repr(self) -> str:
        return f"family={self.family.name}, classes={self.classes}"
