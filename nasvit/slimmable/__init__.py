"""Slimmable, universally slimmable and AutoSlim networks."""

from nasvit.networks import ChannelPlan, mnasnet, mobilenet_v1, mobilenet_v2, resnet, shufflenet_v1
from nasvit.slimmable.network import SlimmableNetwork

__all__ = [
    "ChannelPlan",
    "SlimmableNetwork",
    "mnasnet",
    "mobilenet_v1",
    "mobilenet_v2",
    "resnet",
    "shufflenet_v1",
]
