"""Batch-norm statistics of one subnet, taken from a few batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasvit.compute import ALONE, Compute
from nasvit.layers.batch_norm import BatchNorm2d, store_statistics


def track_statistics(network: nn.Module, momentum: float | None = 0.1) -> None:
    """Let every batch norm of ``network`` that stores no statistics store them from now on, as in ordinary training."""
    for module in network.modules():
        if isinstance(module, BatchNorm2d) and module.running_mean is None:
            module.track_statistics(momentum)


def images_of(batch: Any) -> Tensor:
    """Return the images of a batch: the batch itself, or the first part of one that has labels, too.

    Raises:
        ValueError: if that is no tensor.
    """
    images = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
    if not isinstance(images, Tensor):
        raise ValueError(
            f"calibrate got a batch of {type(images).__name__}; give it tensors of images, or tuples that begin so"
        )
    return images


@torch.no_grad()
def calibrate(
    network: nn.Module, batches: Iterable[Any], *, unbiased: bool = True, compute: Compute = ALONE
) -> nn.Module:
    """Give ``network`` batch-norm statistics: the plain average over ``batches`` of each batch's mean and variance.

    Nothing else moves: everything but batch norm runs as in evaluation, weights stay, and the network ends in
    evaluation mode. The statistics are the network's own; neither the supernet nor another subnet sees them.

    Args:
        network: a subnet (live or extracted) or any plain network.
        batches: images, each of shape ``(batch, channels, height, width)``, or what a loader gives: images and labels.
        unbiased: average variances with ``n - 1`` in the denominator, as PyTorch and AlphaNet do; False: with ``n``,
            as Once-for-All does.
        compute: the processes that share the batches out: of the same batches, each runs some.

    Returns:
        ``network``, in evaluation mode.

    Raises:
        ValueError: if there are no batches, there are no images in them, or they are one tensor.
    """
    if isinstance(batches, Tensor):
        raise ValueError("calibrate takes batches, and this is one tensor; give it a list of such: [images]")
    network.eval()
    collectors = [_Collector(module, unbiased) for module in network.modules() if isinstance(module, _BatchNorm)]
    seen = 0
    try:
        for own, images in _share(batches, compute):
            seen += 1
            if own:
                network(images_of(images))
            if not collectors:
                break
        if not seen:
            raise ValueError("calibrate got no batches; give it at least one batch of training images")
    except BaseException:
        for collector in collectors:
            collector.give_up()
        raise
    for collector in collectors:
        collector.finish(seen, compute)
    return network


def _share(batches: Iterable[Any], compute: Compute) -> Iterator[tuple[bool, Any]]:
    """Yield for every batch whether this process runs it, and the batch; a sequence makes only those that it runs."""
    if isinstance(batches, Sequence):
        own = iter(batches[compute.rank :: compute.count])
        for number in range(len(batches)):
            mine = number % compute.count == compute.rank
            yield mine, next(own) if mine else None
    else:
        for number, images in enumerate(batches):
            yield number % compute.count == compute.rank, images


class _Collector:
    """Averages the statistics of one batch norm over batches while it normalizes by each batch's own."""

    def __init__(self, norm: _BatchNorm, unbiased: bool) -> None:
        self.norm, self.unbiased = norm, unbiased
        self.before = (norm.running_mean, norm.running_var, norm.num_batches_tracked)
        self.tracked, self.momentum = norm.track_running_stats, norm.momentum
        store_statistics(norm, momentum=1.0)  # so that the stored values are those of the last batch
        norm.train()
        self.mean = torch.zeros_like(norm.running_mean)  # type: ignore[arg-type]
        self.variance = torch.zeros_like(self.mean)
        self.hook = norm.register_forward_hook(self.collect)

    def collect(self, norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        count = inputs[0].numel() / inputs[0].shape[1]
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        self.mean += self.norm.running_mean
        self.variance += self.norm.running_var * (1 if self.unbiased else (count - 1) / count)

    def finish(self, batches: int, compute: Compute) -> None:
        """Store the averages over the batches of all processes."""
        self._stop()
        compute.sum_(self.mean)
        compute.sum_(self.variance)
        self.norm.momentum = self.momentum
        self.norm.running_mean = self.mean / batches
        self.norm.running_var = self.variance / batches

    def give_up(self) -> None:
        """Restore the statistics stored before: the average is not complete."""
        self._stop()
        self.norm.running_mean, self.norm.running_var, self.norm.num_batches_tracked = self.before
        self.norm.track_running_stats, self.norm.momentum = self.tracked, self.momentum

    def _stop(self) -> None:
        self.hook.remove()
        self.norm.eval()
