"""Networks that share one set of weights among many subnets: from a space, of many widths, or around a tiny one."""

from nasvit.supernets.augment import Augmented, augment
from nasvit.supernets.augmented_family import AugmentedNetwork
from nasvit.supernets.augmented_space import AugmentedSupernet
from nasvit.supernets.factors import augmentation_factors
from nasvit.supernets.gradients import FlatGradients
from nasvit.supernets.planned import PlannedNetwork
from nasvit.supernets.shared_network import SharedNetwork, independent
from nasvit.supernets.slimmable import SlimmableNetwork
from nasvit.supernets.supernet import Supernet, build_subnet

__all__ = [
    "Augmented",
    "AugmentedNetwork",
    "AugmentedSupernet",
    "FlatGradients",
    "PlannedNetwork",
    "SharedNetwork",
    "SlimmableNetwork",
    "Supernet",
    "augment",
    "augmentation_factors",
    "build_subnet",
    "independent",
]
