"""The part of every batch that the device does: normalize, erase, mix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from nasvit.compute import Compute
from nasvit.data.augment import Augmentation, Mixing
from nasvit.data.box_mixing import BoxMixing
from nasvit.data.normalization import Normalization, Normalizer
from nasvit.data.preparation import Prepared
from nasvit.data.targets import BoxTargets, map_tensors

Batch = tuple[Tensor, Any]
"""Images, and what belongs to them: a tensor, or ``BoxTargets``."""


class Finishing:
    """Brings prepared batches to the device, in copies that are not waited for, and finishes them there.

    Args:
        normalization: shift and scale of the channels.
        augmentation: says whether and how images are mixed.
        classes: number of classes.
        compute: the device.
        channels_last: memory layout of the batches.
    """

    def __init__(
        self,
        normalization: Normalization,
        augmentation: Augmentation,
        classes: int,
        *,
        compute: Compute,
        channels_last: bool,
    ) -> None:
        self._compute = compute
        self._normalizer = Normalizer(normalization, compute.device, channels_last=channels_last)
        self._mixing = Mixing(augmentation, classes) if augmentation.mixes else None
        self._box_mixing = BoxMixing(augmentation.mixup) if augmentation.mixup > 0 else None

    def training(self, prepared: Prepared) -> Batch:
        """Finish a training batch.

        Returns:
            Images float32 (B, C, H, W), and targets: int64 (B,), or class probabilities float32 (B, classes) if the
            augmentation mixes images; or boxes, or masks int64 (B, H, W).
        """
        images, targets = self.plain(prepared)
        if prepared.erasures is not None:
            noise = self._compute.put(prepared.erasures.noise)
            prepared.erasures._replace(noise=noise).write(images)
        if isinstance(targets, BoxTargets):
            return self._box_mixing(images, targets, prepared.mixing_seed) if self._box_mixing else (images, targets)
        if self._mixing is not None:
            images, targets = self._mixing(images, targets, prepared.mixing_seed)
        return images, targets

    def plain(self, prepared: Prepared) -> Batch:
        """Finish a batch without augmentation: images float32 (B, C, H, W), and class indices, boxes or masks."""
        return self.images(prepared), map_tensors(self._target, prepared.targets)

    def images(self, prepared: Prepared) -> Tensor:
        """Return the images of a batch without augmentation: float32 (B, C, H, W)."""
        return self._normalizer(self._compute.put(prepared.pixels))

    def _target(self, targets: Tensor) -> Tensor:
        targets = self._compute.put(targets)
        # Masks travel as bytes, an eighth of what they are served as.
        return targets.long() if targets.dtype == torch.uint8 else targets

    def ahead(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield batches, one of them finished ahead where a device works beside this process."""
        return batches if self._compute.device.type == "cpu" else _one_ahead(batches)


def _one_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    waiting = next(batches, None)
    for following in batches:
        assert waiting is not None
        yield waiting
        waiting = following
    if waiting is not None:
        yield waiting
