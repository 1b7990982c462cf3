"""NetAug: tiny networks trained inside wider ones."""

from nasvit.netaug.augment import Augmented, augment
from nasvit.netaug.factors import augmentation_factors
from nasvit.netaug.network import AugmentedNetwork
from nasvit.netaug.sorting import sort_channels
from nasvit.netaug.supernet import AugmentedSupernet
from nasvit.netaug.targets import (
    TARGETS,
    mcunet,
    mobilenet_v2_small,
    mobilenet_v2_tiny,
    mobilenet_v3,
    proxylessnas,
    target,
)

__all__ = [
    "TARGETS",
    "Augmented",
    "AugmentedNetwork",
    "AugmentedSupernet",
    "augment",
    "augmentation_factors",
    "mcunet",
    "mobilenet_v2_small",
    "mobilenet_v2_tiny",
    "mobilenet_v3",
    "proxylessnas",
    "sort_channels",
    "target",
]
