"""Networks with shared weights for dense tasks: many backbones and one head."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from nasvit.elastic.head import ElasticHead
from nasvit.heads.dense import DenseNetwork
from nasvit.heads.head import HeadModule
from nasvit.supernets.shared_network import SharedNetwork, independent


class DenseShared(SharedNetwork):
    """All subnets of a network with shared weights as backbones, and one head that reads the maps of each.

    ``network.at(subnet)`` is a detector or segmenter of ordinary PyTorch whose backward pass trains backbone and head.

    Args:
        backbones: the network with shared weights, a part of this one from now on; its classifiers are left out.
        maps: makes a backbone of a plain subnet: returns the maps that the head reads.
        channels: returns how many channels these maps of a subnet have.
        head: the head of the widest maps.
    """

    def __init__(
        self,
        backbones: SharedNetwork,
        maps: Callable[[nn.Module], nn.Module],
        channels: Callable[[Any], Sequence[int]],
        head: HeadModule,
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
