"""Networks whose channels are planned layer by layer and share one set of weights."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from nasvit.elastic.batch_norm import Switch
from nasvit.elastic.in_families import build_head, build_stem
from nasvit.elastic.initialization import initialize
from nasvit.elastic.norms import NormFactory
from nasvit.elastic.registry import KINDS
from nasvit.layers.network import Network
from nasvit.models.family import Family
from nasvit.models.plan import ChannelPlan
from nasvit.supernets.shared_network import SharedNetwork


class PlannedNetwork(SharedNetwork):
    """All networks of a family up to the largest of some channel plans, sharing one set of weights.

    Base of slimmable and of augmented networks, which define ``at`` and choose the batch norms.

    Args:
        family: everything but the channels.
        plans: the channels at each switch; the weights are as large as the largest of them.
        classes: number of classes.
        norm: builds a batch norm from the channels at each switch.
        head_norm: builds the batch norm of the head.
        seed: seed of the initial weights.
        image_channels: channels of the images.

    Raises:
        ValueError: if a plan does not fit the family, or there is less than one class.
    """

    fixed_family: Family
    """The family with the shortcuts and gates that all switches together decide; see :meth:`Family.fixed`."""

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
        self.fixed_family = family.fixed(plans)
        parts = family.widths(plans)
        self.largest_plan = ChannelPlan(tuple(map(max, zip(*(plan.channels for plan in plans), strict=True))))
        self.stem = build_stem(family.stem, image_channels, parts.stem, norm)
        self.stages = nn.ModuleList()
        widths = parts.stem
        for specs, chosen in zip(self.fixed_family.stages, parts.stages, strict=True):
            stage = nn.ModuleList()
            for spec, decided in zip(specs, chosen, strict=True):
                stage.append(KINDS[spec.kind].build(spec, widths, decided, norm))
                widths = decided[-1]
            self.stages.append(stage)
        self.head = build_head(family.head, widths, parts.head, classes, head_norm)
        initialize(self, seed)

    def stage_channels(self, plan: ChannelPlan) -> tuple[int, ...]:
        """Return the channels of the map after every stage, of the network of a plan."""
        return tuple(stage[-1][-1] for stage in self.family.split(plan.channels).stages)

    def network_at(self, plan: ChannelPlan, switch: Switch) -> Network:
        """Return the subnet of one plan as a plain network that shares this one's weights.

        Args:
            plan: the channels of every layer.
            switch: the subnet that its batch norms belong to.

        Raises:
            ValueError: if the plan does not fit the family, or a layer holds no such channels.
            RuntimeError: if a gradient was replaced, as by ``optimizer.zero_grad()``.
        """
        parts = self.family.split(plan.channels)
        self.bind()
        channels = parts.stem
        stages: list[list[nn.Module]] = []
        for specs, blocks, chosen in zip(self.family.stages, self.stages, parts.stages, strict=True):
            stages.append([])
            for spec, block, decided in zip(specs, blocks, chosen, strict=True):  # type: ignore[call-overload]
                stages[-1].append(KINDS[spec.kind].at(block, channels, decided, switch))
                channels = decided[-1]
        stem = self.stem.at(parts.stem, switch)
        head = self.head.at(channels, *self.family.head.split(parts.head), switch)
        return self.as_live(Network(None, stem, stages, head))

    def extra_repr(self) -> str:
        return f"family={self.family.name}, classes={self.classes}"
