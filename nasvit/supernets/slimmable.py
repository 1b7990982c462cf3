"""Slimmable networks: one set of weights that runs at many widths."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from nasvit.elastic.norms import NORMS, NormKind
from nasvit.layers.network import Network
from nasvit.models.family import Family
from nasvit.models.plan import ChannelPlan
from nasvit.supernets.planned import PlannedNetwork
from nasvit.supernets.widths import Slimmable, elastic_norms_of

Width = float | ChannelPlan


class SlimmableNetwork(Slimmable[Width], PlannedNetwork):
    """A network that runs at many widths with one set of weights.

    ``network.at(0.5)`` is an ordinary ``nn.Module`` of views whose backward pass trains the shared weights;
    ``network.extract(0.5)`` is an independent copy of it. A width is a multiplier, or a :class:`ChannelPlan` with the
    channels of every layer (AutoSlim). No state says which width is active, so threads may use different ones.

    Source: Yu et al., Slimmable Neural Networks (2019), https://arxiv.org/abs/1812.08928; Yu and Huang, Universally
    Slimmable Networks (2019), https://arxiv.org/abs/1903.05134; Yu and Huang, AutoSlim (2019),
    https://arxiv.org/abs/1903.11728

    Args:
        family: everything but the channels.
        widths: the switches: multipliers, channel plans, or both.
        classes: number of classes.
        norm: "switchable": every switch has its own batch norms, and only switches can run. "universal": any width
            up to the largest can run; gain and bias are shared, and statistics are taken by :meth:`calibrate`.
            "shared": one batch norm with one set of statistics for all, which is known to fail: a baseline.
        head_norm: batch norm of the head's convolution; None: as released, which is "shared" in a switchable
            network whose head keeps its channels, and ``norm`` otherwise.
        seed: seed of the initial weights.
        image_channels: channels of the images.

    Raises:
        ValueError: if there are no switches, a switch is listed twice, or a plan does not fit the family.
    """

    def __init__(
        self,
        family: Family,
        widths: Sequence[Width],
        classes: int,
        *,
        norm: NormKind = "switchable",
        head_norm: NormKind | None = None,
        seed: int = 0,
        image_channels: int = 3,
    ) -> None:
        if isinstance(family, nn.Module):
            raise ValueError(
                f"SlimmableNetwork takes a family, and this is a network, {type(family).__name__}; "
                "nasvit.slimmable(network, image, widths) lets it run at several widths"
            )
        if not widths or len(set(widths)) < len(widths):
            raise ValueError(f"widths={list(widths)}; a slimmable network needs at least one, and each only once")
        multipliers = [width for width in widths if not isinstance(width, ChannelPlan)]
        family = family.up_to(max(multipliers)) if multipliers else family
        plans = [family.plan(width) if not isinstance(width, ChannelPlan) else width for width in widths]
        if head_norm is None:
            head_norm = "shared" if norm == "switchable" and family.head.fixed else norm
        super().__init__(
            family,
            plans,
            classes,
            norm=NORMS[norm],
            head_norm=NORMS[head_norm],
            seed=seed,
            image_channels=image_channels,
        )
        self.widths, self.plans, self.norm, self.head_norm = tuple(widths), tuple(plans), norm, head_norm
        self._note_universal()

    def plan(self, width: Width) -> ChannelPlan:
        """Return the channels of every layer at a width.

        Raises:
            ValueError: if this network cannot run at that width.
        """
        plan: ChannelPlan = self.sizes(width)
        return plan

    def sizes_of(self, width: Width) -> ChannelPlan:
        """Return the channels of every layer at any width of the family."""
        return width if isinstance(width, ChannelPlan) else self.family.plan(width)

    def stage_channels(self, width: Width) -> tuple[int, ...]:  # type: ignore[override]
        """Return the channels of the map after every stage at a width."""
        return super().stage_channels(self.plan(width))

    def channels(self, width: Width) -> int:
        """Return the channels of all layers together, by which widths are put in order."""
        return sum(self.plan(width).channels)

    def elastic_norms(self) -> dict[str, nn.Module]:
        """Return name of a batch norm in a subnet -> the elastic one that it is of."""
        return elastic_norms_of(self)

    def at(self, width: Width) -> Network:
        """Return the subnet of a width as a plain network that shares this one's weights.

        Its parameters are leaf parameters whose ``grad`` is a slice of this network's, so an ordinary ``backward()``
        adds to the shared gradients. Every call gives fresh modules around the same views.

        Args:
            width: a multiplier or a channel plan.

        Raises:
            ValueError: if this network cannot run at that width.
            RuntimeError: if a gradient was replaced, as by ``optimizer.zero_grad()``.
        """
        return self.network_at(self.plan(width), self.switch(width))
