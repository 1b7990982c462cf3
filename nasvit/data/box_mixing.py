"""Mixup of images with boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from nasvit.data.randomness import generator
from nasvit.data.targets import BoxTargets


class BoxMixing:
    """Mixup of each image with that at the same place of the reversed batch: pixels averaged, all boxes kept.

    Source: Zhang et al., Bag of Freebies for Training Object Detection Neural Networks (2019),
    https://arxiv.org/abs/1902.04103: images are laid over each other as they are, and their objects joined. Here both
    have one size and one weight for the batch; losses are not weighted.

    Args:
        alpha: of the beta distribution of the weight, 1.5 in that article; far below 1 one of the two images is hardly
            seen, though its boxes are kept.
    """

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha

    def __call__(self, images: Tensor, targets: BoxTargets, seed: int) -> tuple[Tensor, BoxTargets]:
        """Mix a batch, images in place.

        Args:
            images: float32 (B, C, H, W), B even.
            targets: their boxes.
            seed: equal seeds give equal mixing.

        Returns:
            The images, and targets with twice the room: the boxes of an image, then those of its partner.
        """
        weight = float(generator(seed).beta(self._alpha, self._alpha))
        partners = images.flip(0)
        mixed = images.mul_(weight).add_(partners, alpha=1 - weight)
        boxes, labels, crowd, areas = (torch.cat([each, each.flip(0)], dim=1) for each in targets[:-1])
        return mixed, BoxTargets(boxes, labels, crowd, areas, targets.scale)
