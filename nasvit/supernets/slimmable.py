"""Slimmable networks: one set of weights that runs at many widths."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from nasvit.elastic.base import Elastic
from nasvit.elastic.batch_norm import Switch
from nasvit.elastic.norms import NORMS, NormKind
from nasvit.elastic.universal_batch_norm import ElasticUniversalBatchNorm2d
from nasvit.layers.batch_norm import BatchNorm2d
from nasvit.layers.network import Network
from nasvit.models.family import Family
from nasvit.models.plan import ChannelPlan
from nasvit.supernets.padded_features import PaddedFeatures
from nasvit.supernets.planned import PlannedNetwork
from nasvit.supernets.shared_network import independent

Width = float | ChannelPlan


class SlimmableNetwork(PlannedNetwork):
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
        if not widths or len(set(widths)) < len(widths):
            raise ValueError(f"widths={list(widths)}; a slimmable network needs at least one, and each only once")
        self.widths: tuple[Width, ...]
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
        # In a tuple, so that it is no second child: all of them have statistics of the same subnets.
        self._universal = tuple(m for m in self.modules() if isinstance(m, ElasticUniversalBatchNorm2d))[:1]

    def plan(self, width: Width) -> ChannelPlan:
        """Return the channels of every layer at a width.

        Raises:
            ValueError: if this network cannot run at that width.
        """
        if width in self.widths:
            return self.plans[self.widths.index(width)]
        if isinstance(width, ChannelPlan):
            plan = width
        else:
            self._check_range(width)
            plan = self.family.plan(width)
        if self.norm == "switchable" and plan not in self.plans:
            raise ValueError(
                f"width={width} is none of this network's switches: {', '.join(map(str, self.widths))}; "
                'for any width build it with norm="universal"'
            )
        return plan

    def _check_range(self, width: float) -> None:
        listed = [each for each in self.widths if not isinstance(each, ChannelPlan)]
        if listed and not min(listed) <= width <= max(listed):
            raise ValueError(f"width={width} is outside {min(listed)}..{max(listed)}, the widths of this network")

    def switch(self, width: Width) -> Switch:
        """Return the switch of a width, by which batch norms tell subnets apart.

        Raises:
            ValueError: if this network cannot run at that width.
        """
        plan = self.plan(width)
        # Without statistics of their own all subnets are alike, and share the views that layers keep of each size.
        key = plan.key if any(plan.key in norm.statistics for norm in self._universal) else ""
        if width in self.widths:
            return Switch(self.widths.index(width), key)
        return Switch(self.plans.index(plan) if plan in self.plans else None, key)

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

    def features_at(self, width: Width) -> PaddedFeatures:
        """Return the subnet of a width as a backbone whose maps have the channels of the largest network.

        Args:
            width: a multiplier or a channel plan.

        Raises:
            ValueError: if this network cannot run at that width.
        """
        return PaddedFeatures(self.at(width), self.feature_channels)

    @property
    def feature_channels(self) -> tuple[int, ...]:
        """Channels of the map after every stage in the largest network."""
        return tuple(stage[-1][-1] for stage in self.family.split(self.largest_plan.channels).stages)

    def extract(self, width: Width, calibration: Iterable[Tensor] | None = None) -> Network:
        """Return an independent plain network that computes the same as the subnet of a width.

        Args:
            width: a multiplier or a channel plan.
            calibration: batches of images to take batch-norm statistics from, for this copy alone.

        Raises:
            ValueError: if this network cannot run at that width.
        """
        return independent(self.at(width), calibration)

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Tensor], widths: Sequence[Width] | None = None) -> None:
        """Take new batch-norm statistics for some widths and keep them: plain averages over ``batches``.

        Each width normalizes by its own batch statistics meanwhile; weights stay. A universally slimmable network may
        get widths that it was never trained at. A batch norm shared by several widths averages over them all.

        Args:
            batches: images, each of shape ``(batch, channels, height, width)``.
            widths: the widths to calibrate; all switches if left out.

        Raises:
            ValueError: if there are no batches, or this network cannot run at a width.
        """
        widths = self.widths if widths is None else widths
        calibrated = copy.deepcopy(self)  # so that half an average, if this fails, passes for nothing
        calibrated._average_statistics(batches, widths)
        self.load_state_dict(dict(calibrated.named_buffers()), strict=False)
        Elastic.forget(self)

    def _average_statistics(self, batches: Iterable[Tensor], widths: Sequence[Width]) -> None:
        self.reset_statistics(widths)
        networks = [self.at(width).eval() for width in widths]
        norms = [[m.train() for m in network.modules() if isinstance(m, BatchNorm2d)] for network in networks]
        seen, counted = 0, Counter[int]()
        for images in batches:
            for network, own in zip(networks, norms, strict=True):
                for norm in own:  # plain averages; PyTorch's own way would read its counter from the device
                    counted[id(norm.num_batches_tracked)] += 1
                    norm.momentum = 1 / counted[id(norm.num_batches_tracked)]
                network(images)
            seen += 1
        if not seen:
            raise ValueError("calibrate got no batches; give it at least one batch of training images")

    def reset_statistics(self, widths: Sequence[Width] | None = None) -> None:
        """Set stored statistics to mean 0 and variance 1; a universally slimmable network then has a place for them.

        Args:
            widths: the widths to reset; all switches if left out.

        Raises:
            ValueError: if this network cannot run at a width.
        """
        own = dict(self.named_modules())
        for width in self.widths if widths is None else widths:
            key = self.plan(width).key
            for name, module in self.at(width).named_modules():
                if not isinstance(module, BatchNorm2d):
                    continue
                norm = own[name]
                if isinstance(norm, ElasticUniversalBatchNorm2d):
                    norm.reset_statistics(module.num_features, key)
                else:
                    module.reset_running_stats()  # in place, so the shared ones too
        Elastic.forget(self)
