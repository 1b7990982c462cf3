"""Convolutional network families whose channels are planned layer by layer, with elastic blocks that share weights."""

from nasvit.networks.catalog import mnasnet, mobilenet_v1, mobilenet_v2, resnet, shufflenet_v1, shufflenet_v2
from nasvit.networks.family import Block, Family, Head, Stem
from nasvit.networks.network import PlannedNetwork
from nasvit.networks.plan import ChannelPlan
from nasvit.networks.unit import Switch, shared_norm, switchable_norm, universal_norm

__all__ = [
    "Block",
    "ChannelPlan",
    "Family",
    "Head",
    "PlannedNetwork",
    "Stem",
    "Switch",
    "mnasnet",
    "mobilenet_v1",
    "mobilenet_v2",
    "resnet",
    "shared_norm",
    "shufflenet_v1",
    "shufflenet_v2",
    "switchable_norm",
    "universal_norm",
]
