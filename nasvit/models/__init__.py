"""Networks as data: families at any width, tiny networks, and published designs."""

from nasvit.models.catalog import mnasnet, mobilenet_v1, mobilenet_v2, resnet, shufflenet_v1, shufflenet_v2
from nasvit.models.family import Block, Family, Head, Stem
from nasvit.models.plan import ChannelPlan

__all__ = [
    "Block",
    "ChannelPlan",
    "Family",
    "Head",
    "Stem",
    "mnasnet",
    "mobilenet_v1",
    "mobilenet_v2",
    "resnet",
    "shufflenet_v1",
    "shufflenet_v2",
]
