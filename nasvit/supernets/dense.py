"""Networks with shared weights for dense tasks: many backbones and one head."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from nasvit.elastic.head import ElasticHead
from nasvit.features import features
from nasvit.heads.dense import DenseNetwork
from nasvit.heads.head import HeadModule
from nasvit.models.plan import ChannelPlan
from nasvit.supernets.shared_network import SharedNetwork, independent
from nasvit.supernets.slimmable import SlimmableNetwork, Width
from nasvit.supernets.widths import Slimmable


@dataclass(frozen=True)
class Maps:
    """Makes backbones of plain networks: of each the maps that a head reads.

    Args:
        strides: strides of the maps.
        shape: of one image.
    """

    strides: tuple[int, ...]
    shape: tuple[int, int, int]

    def __call__(self, network: nn.Module) -> nn.Module:
        """Return a network as a backbone."""
        return features(network, strides=self.strides, shape=self.shape)

    def channels(self, network: nn.Module) -> tuple[int, ...]:
        """Return the channels of every map of a network."""
        return tuple(self(network).feature_info.channels())  # type: ignore[operator, union-attr]


class DenseShared(SharedNetwork):
    """All subnets of a network with shared weights as backbones, and one head that reads the maps of each.

    ``network.at(subnet)`` is a detector or segmenter of ordinary PyTorch whose backward pass trains backbone and head.

    Args:
        backbones: the network with shared weights, a part of this one from now on; its classifiers are left out.
        maps: what the head reads of a plain subnet.
        channels: returns how many channels these maps of a subnet have.
        head: the head of the widest maps.
    """

    def __init__(
        self, backbones: SharedNetwork, maps: Maps, channels: Callable[[Any], Sequence[int]], head: HeadModule
    ) -> None:
        super().__init__()
        self.backbones, self.head = backbones, ElasticHead(head)
        self._maps, self._channels = maps, channels
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
        backbone = self._maps(self.backbones.at(subnet))
        return self.as_live(DenseNetwork(backbone, self.head.at(tuple(self._channels(subnet)))))

    def extract(self, subnet: Any, calibration: Iterable[Tensor] | None = None) -> DenseNetwork:
        """Return an independent network that computes the same as a subnet with its head.

        Args:
            subnet: as in :meth:`at`.
            calibration: batches of images to take batch-norm statistics from.
        """
        return independent(self.at(subnet), calibration)


class DenseSlimmable(Slimmable[Width], DenseShared):
    """A detector or segmenter that runs at many widths with one set of weights: a slimmable backbone and one head.

    Source: Yu et al., Slimmable Neural Networks (2019), section 4.3, https://arxiv.org/abs/1812.08928

    Args:
        backbones: the slimmable network, a part of this one from now on; its classifiers are left out.
        maps: what the head reads of a width.
        head: the head of the widest maps; it has no batch norms, whose statistics would be those of all widths.
    """

    backbones: SlimmableNetwork

    def __init__(self, backbones: SlimmableNetwork, maps: Maps, head: HeadModule) -> None:
        self._known = {width: maps.channels(backbones.at(width)) for width in backbones.widths}
        DenseShared.__init__(self, backbones, maps, self._known.__getitem__, head)
        self.widths, self.plans, self.norm = backbones.widths, backbones.plans, backbones.norm

    def sizes_of(self, width: Width) -> ChannelPlan:
        """Return the channels of every layer of the backbone at any width of the family."""
        return self.backbones.sizes_of(width)

    def channels(self, width: Width) -> int:
        """Return the channels of all layers of the backbone together, by which widths are put in order."""
        return self.backbones.channels(width)
