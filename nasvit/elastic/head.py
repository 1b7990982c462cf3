"""Heads of dense tasks for backbones of many widths."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasvit.elastic.base import Elastic, shared
from nasvit.elastic.shared_parameter import SharedParameter
from nasvit.heads.head import HeadModule
from search_spaces.values import FieldError


class ElasticHead(Elastic):
    """Heads of one size, made for the widest maps: for narrower ones their first weights read the channels there are.

    That computes what padding narrow maps with zeros would (Yu et al., Slimmable Neural Networks, 2019, section 4.3,
    https://arxiv.org/abs/1812.08928), without multiplying by them.

    Args:
        largest: the head of the widest maps; its batch norms lose their statistics, which belong to a subnet.
    """

    def __init__(self, largest: HeadModule) -> None:
        super().__init__()
        if not largest.reads():
            raise FieldError(
                ["head"], f"{largest.head.kind} is made for one backbone; legal for several: fcos, retinanet, pyramid"
            )
        self.largest = largest
        for module in largest.modules():
            if isinstance(module, _BatchNorm):
                module.running_mean = module.running_var = module.num_batches_tracked = None
                module.track_running_stats = False

    @property
    def has_views(self) -> bool:
        """Whether views are views of its own parameters: of those of the modules inside."""
        return True

    @shared
    def at(self, channels: tuple[int, ...]) -> HeadModule:
        """Return the head of maps with so many channels.

        Args:
            channels: of every map, finest first.

        Raises:
            ValueError: if a map has more channels than the head was made for.
        """
        reads, views = self.largest.reads(), dict[int, Any]()
        for prefix, module in self.largest.named_modules():
            for name, parameter in module._parameters.items():
                place = reads.get(f"{prefix}.{name}")
                if parameter is not None:
                    index = (
                        () if place is None else (slice(None), slice(self._held(parameter.shape[1], channels[place])))
                    )
                    views[id(parameter)] = SharedParameter.of(module._parameters, name, index)
        head = copy.deepcopy(self.largest, views)  # which takes the views as copies made already
        for name in reads:
            layer = head.get_submodule(name.rpartition(".")[0])
            assert isinstance(layer, nn.Conv2d)
            layer.in_channels = layer.weight.shape[1]
        return head

    @staticmethod
    def _held(largest: int, channels: int) -> int:
        if channels > largest:
            raise ValueError(f"the head reads maps of up to {largest} channels, and one has {channels}")
        return channels
