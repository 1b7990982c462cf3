"""Networks with shared weights for dense tasks: many backbones and one head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from nasvit.backbones import Backbone, FeatureInfo, features
from nasvit.backbones.ways import Stages
from nasvit.elastic.head import ElasticHead
from nasvit.heads.dense import DenseNetwork
from nasvit.heads.head import Head
from nasvit.layers.network import Network
from nasvit.models.plan import ChannelPlan
from nasvit.supernets.augment import Augmented
from nasvit.supernets.augmented_space import AugmentedSupernet
from nasvit.supernets.shared_network import SharedNetwork, independent
from nasvit.supernets.slimmable import SlimmableNetwork, Width
from nasvit.supernets.widths import Slimmable

BACKBONES = "backbones."
"""Prefix of the names of the backbones' parameters."""


class Maps:
    """The maps that a head reads of every subnet: those after certain stages.

    Args:
        network: a subnet; all have their maps after the same stages.
        strides: strides of the maps.
        shape: of one image.

    Raises:
        ValueError: if there is no map of a stride.
    """

    def __init__(self, network: Network, strides: Sequence[int], shape: tuple[int, int, int]) -> None:
        self.info = features(network, strides, shape).feature_info
        self.stages = [int(name.split(".")[1]) for name in self.info.module_name()]

    def channels(self, of_stages: Sequence[int]) -> tuple[int, ...]:
        """Return the channels of the maps, given those after all stages."""
        return tuple(of_stages[stage] for stage in self.stages)

    def cut(self, network: Network, channels: Sequence[int]) -> Backbone:
        """Return a subnet, which is taken to pieces, as a backbone with maps of so many channels."""
        info = FeatureInfo({**entry, "num_chs": own} for entry, own in zip(self.info, channels, strict=True))
        return Backbone(Stages(network.stem, list(network.stages)[: self.stages[-1] + 1], self.stages), info)


class DenseShared(SharedNetwork):
    """All subnets of a network with shared weights as backbones, and one head that reads the maps of each.

    ``network.at(subnet)`` is a detector or segmenter of ordinary PyTorch whose backward pass trains backbone and head.

    Args:
        backbones: the network with shared weights, a part of this one from now on; its classifiers are left out.
        widest: the subnet with the widest maps.
        head: description of the head.
        shape: of one image.
        classes: number of classes.
        seed: seed of the head's initial weights.

    Raises:
        ValueError: if there is no map of a stride of the head.
    """

    def __init__(
        self,
        backbones: SharedNetwork,
        widest: Any,
        head: Head,
        shape: tuple[int, int, int],
        classes: int,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.backbones = backbones
        self.maps = Maps(backbones.at(widest), head.strides, shape)
        self.head = ElasticHead(head.build(self._channels(widest), classes, seed=seed))
        backbones.forget()  # what was made until now belongs to the backbones alone
        backbones.become_part_of(self)

    def at(self, subnet: Any) -> DenseNetwork:
        """Return a subnet with its head, which share this network's weights; fresh modules around the same views.

        Args:
            subnet: what the network of the backbones calls it: an architecture, a width, a channel plan.

        Raises:
            ValueError: if there is no such subnet.
            RuntimeError: if a gradient was replaced, as by ``optimizer.zero_grad()``.
        """
        self.bind()
        channels = self._channels(subnet)
        backbone = self.maps.cut(self.backbones.at(subnet), channels)
        return self.as_live(DenseNetwork(backbone, self.head.at(channels)))

    def extract(self, subnet: Any, calibration: Iterable[Tensor] | None = None) -> DenseNetwork:
        """Return an independent network that computes the same as a subnet with its head.

        Args:
            subnet: as in :meth:`at`.
            calibration: batches of images to take batch-norm statistics from.
        """
        return independent(self.at(subnet), calibration)

    def _channels(self, subnet: Any) -> tuple[int, ...]:
        return self.maps.channels(self.backbones.stage_channels(subnet))  # type: ignore[operator, union-attr]


class DenseSlimmable(Slimmable[Width], DenseShared):
    """A detector or segmenter that runs at many widths with one set of weights: a slimmable backbone and one head.

    Source: Yu et al., Slimmable Neural Networks (2019), section 4.3, https://arxiv.org/abs/1812.08928

    Args:
        backbones: the slimmable network, a part of this one from now on; its classifiers are left out.
        head: description of the head; it has no batch norms, whose statistics would be those of all widths.
        shape: of one image.
        classes: number of classes.
        seed: seed of the head's initial weights.
    """

    backbones: SlimmableNetwork

    def __init__(
        self,
        backbones: SlimmableNetwork,
        head: Head,
        shape: tuple[int, int, int],
        classes: int,
        *,
        seed: int = 0,
    ) -> None:
        widest = max(backbones.widths, key=backbones.channels)
        DenseShared.__init__(self, backbones, widest, head, shape, classes, seed=seed)
        self.widths, self.plans, self.norm = backbones.widths, backbones.plans, backbones.norm

    def sizes_of(self, width: Width) -> ChannelPlan:
        """Return the channels of every layer of the backbone at any width of the family."""
        return self.backbones.sizes_of(width)

    def channels(self, width: Width) -> int:
        """Return the channels of all layers of the backbone together, by which widths are put in order."""
        return self.backbones.channels(width)


class DenseAugmented(DenseShared):
    """A tiny detector or segmenter inside wider ones (NetAug): their backbones are wider, the head is one.

    Source: Cai et al., Network Augmentation for Tiny Deep Learning (2022), section 4.4,
    https://arxiv.org/abs/2110.08890

    Args:
        backbones: the tiny backbone inside wider ones, a part of this network from now on.
        head: description of the head.
        shape: of one image.
        classes: number of classes.
        seed: seed of the head's initial weights.
    """

    backbones: Augmented

    def __init__(
        self, backbones: Augmented, head: Head, shape: tuple[int, int, int], classes: int, *, seed: int = 0
    ) -> None:
        widest = backbones.space.largest if isinstance(backbones, AugmentedSupernet) else backbones.largest_plan
        super().__init__(backbones, widest, head, shape, classes, seed=seed)

    @property
    def base(self) -> Any:
        """The tiny network, as the network of the backbones calls it."""
        return self.backbones.base

    def sample(self, generator: torch.Generator, *, widths: bool = True, expands: bool = True) -> Any:
        """Draw a wider network; arguments as those of the network of the backbones."""
        return self.backbones.sample(generator, widths=widths, expands=expands)

    def extract(self, subnet: Any = None, calibration: Iterable[Tensor] | None = None) -> DenseNetwork:
        """Return an independent copy of the tiny network, or of a wider one; arguments as in :class:`DenseShared`."""
        return super().extract(self.base if subnet is None else subnet, calibration)
