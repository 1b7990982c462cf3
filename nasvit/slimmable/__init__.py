"""Slimmable, universally slimmable and AutoSlim networks."""

from nasvit.networks import ChannelPlan, mnasnet, mobilenet_v1, mobilenet_v2, resnet, shufflenet_v1, shufflenet_v2
from nasvit.slimmable.autoslim import slim
from nasvit.slimmable.deploy import SwitchableModel, deploy
from nasvit.slimmable.evaluation import evaluate_widths
from nasvit.slimmable.features import PaddedFeatures
from nasvit.slimmable.network import SlimmableNetwork
from nasvit.slimmable.sampling import AllSwitches, RandomWidths

__all__ = [
    "AllSwitches",
    "ChannelPlan",
    "PaddedFeatures",
    "RandomWidths",
    "SlimmableNetwork",
    "SwitchableModel",
    "deploy",
    "evaluate_widths",
    "mnasnet",
    "mobilenet_v1",
    "mobilenet_v2",
    "resnet",
    "shufflenet_v1",
    "shufflenet_v2",
    "slim",
]
