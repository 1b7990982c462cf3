"""Networks as data: families at any width, tiny networks, and published designs."""

from nasvit.models.catalog import mnasnet, mobilenet_v1, mobilenet_v2, resnet, shufflenet_v1, shufflenet_v2
from nasvit.models.family import Family
from nasvit.models.parts import BlockSpec, HeadSpec, StemSpec
from nasvit.models.plan import ChannelPlan

__all__ = [
    "BlockSpec",
    "ChannelPlan",
    "Family",
    "HeadSpec",
    "StemSpec",
    "mnasnet",
    "mobilenet_v1",
    "mobilenet_v2",
    "resnet",
    "shufflenet_v1",
    "shufflenet_v2",
]
