"""What is known of published data sets without opening them: how many images and classes they have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """Numbers of a data set.

    Args:
        train: training images.
        test: test images; of ImageNet those that are published as validation images.
        classes: number of classes.
        channels: channels of an image.
        side: side of the images in pixels, where all are squares of one size.
    """

    train: int
    test: int
    classes: int
    channels: int = 3
    side: int | None = None


_IMAGENET = Known(1_281_167, 50_000, 1000)

KNOWN: dict[str, Known] = {
    "hf:imagenet-1k": _IMAGENET,
    "hf:ILSVRC/imagenet-1k": _IMAGENET,
    "imagenet-200": Known(256_233, 50_000, 200),
    "torchvision:CIFAR10": Known(50_000, 10_000, 10, side=32),
    "torchvision:CIFAR100": Known(50_000, 10_000, 100, side=32),
    "torchvision:MNIST": Known(60_000, 10_000, 10, 1, 28),
    "torchvision:FashionMNIST": Known(60_000, 10_000, 10, 1, 28),
    "torchvision:SVHN": Known(73_257, 26_032, 10, side=32),
    "torchvision:STL10": Known(5_000, 8_000, 10, side=96),
    "torchvision:Food101": Known(75_750, 25_250, 101),
}
"""Data sets by their names as sources; ``imagenet-200`` is a folder with a random fifth of ImageNet's classes, as
``examples/imagenet/fbnetv3_joint.yaml`` makes it, whose images are about a fifth, too."""
