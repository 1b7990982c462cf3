"""The wider network that a tiny network trains inside of (NetAug)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from nasvit.models.family import Family
from nasvit.models.tiny import target as named_target
from nasvit.supernets.augmented_family import AugmentedNetwork
from nasvit.supernets.augmented_space import AugmentedSupernet
from search_spaces import Architecture, Space

Augmented = AugmentedNetwork | AugmentedSupernet
Target = str | Family | tuple[Space, Architecture]


def augment(
    target: Target,
    *,
    width: Sequence[float] = (1.0, 1.8, 2.6),
    expand: Sequence[float] = (1.0, 1.6, 2.2, 2.8),
    classes: int = 1000,
    seed: int = 0,
    image_channels: int = 3,
) -> Augmented:
    """Return the wider network with shared weights whose smallest subnet is ``target``, exactly.

    Args:
        target: a family at its width 1, the name of a shipped target such as ``"mcunet"`` (with ``@32`` in its form
            for 32x32 images), or a search result: a space and an architecture of it.
        width: factors on channels; see :func:`nasvit.supernets.augmentation_factors` for the paper's r and s.
        expand: factors on expand ratios.
        classes: number of classes.
        seed: seed of the initial weights.
        image_channels: channels of the images; a space fixes its own.

    Raises:
        ValueError: if there is no target of that name, it is a network, it has grouped blocks, or the factors do not
            start at 1.
    """
    if isinstance(target, nn.Module):
        raise ValueError(
            f"augment takes a family or the name of a target, and this is a network, {type(target).__name__}; "
            "netaug: in a file of nasvit fit widens any network"
        )
    if isinstance(target, tuple):
        return AugmentedSupernet(*target, classes, width=width, expand=expand, seed=seed)
    family = named_target(target) if isinstance(target, str) else target
    return AugmentedNetwork(family, classes, width=width, expand=expand, seed=seed, image_channels=image_channels)
