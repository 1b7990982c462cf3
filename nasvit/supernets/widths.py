"""Base of networks that run at many widths with one set of weights."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasvit.elastic.base import Elastic
from nasvit.elastic.batch_norm import ElasticNorm, Switch
from nasvit.elastic.norms import NormKind
from nasvit.elastic.universal_batch_norm import ElasticUniversalBatchNorm2d
from nasvit.layers.calibration import images_of
from nasvit.supernets.shared_network import SharedNetwork, independent

W = TypeVar("W")
"""How a width is named: a multiplier, or the sizes of every layer."""


class Slimmable(SharedNetwork, Generic[W]):
    """A network that runs at many widths: what those of a family and those made of any network have in common.

    A subclass defines ``at(width)``, :meth:`sizes_of`, :meth:`channels` and :meth:`elastic_norms`.

    Attributes:
        widths: the switches.
        plans: the sizes at each switch, with a ``key``.
        norm: the kind of its batch norms.
    """

    widths: tuple[W, ...]
    plans: tuple[Any, ...]
    norm: NormKind
    _universal: tuple[ElasticUniversalBatchNorm2d, ...] = ()

    def _note_universal(self) -> None:
        """Remember one universal batch norm, if there is one: all of them have statistics of the same subnets."""
        universal = (each for each in self.modules() if isinstance(each, ElasticUniversalBatchNorm2d))
        self._universal = tuple(universal)[:1]  # in a tuple, so that it is no second child

    def sizes_of(self, width: W) -> Any:
        """Return the sizes of every layer at any width that the network could have."""
        raise NotImplementedError

    def sizes(self, width: W) -> Any:
        """Return the sizes of every layer at a width.

        Raises:
            ValueError: if this network cannot run at that width.
        """
        if width in self.widths:
            return self.plans[self.widths.index(width)]
        if isinstance(width, (int, float)):
            self._check_range(width)
        sizes = self.sizes_of(width)
        if self.norm == "switchable" and sizes not in self.plans:
            raise ValueError(
                f"width={width} is none of this network's switches: {', '.join(map(str, self.widths))}; "
                'for any width build it with norm="universal"'
            )
        return sizes

    def _check_range(self, width: float) -> None:
        listed = [each for each in self.widths if isinstance(each, (int, float))]
        if listed and not min(listed) <= width <= max(listed):
            raise ValueError(f"width={width} is outside {min(listed)}..{max(listed)}, the widths of this network")

    def channels(self, width: W) -> int:
        """Return the channels of all layers together, by which widths are put in order."""
        raise NotImplementedError

    def channels_of(self, width: W, tensor: str, count: int) -> list[int]:
        """Return which channels of the whole network a layer has at a width, in its order.

        Args:
            width: a width.
            tensor: name, in what ``extract`` returns, of a tensor of the layer whose first axis is its channels.
            count: how many channels it has at that width.

        Raises:
            ValueError: if this network cannot run at that width.
        """
        return [*range(count)]  # in families, layers have the first ones

    def elastic_norms(self) -> Mapping[str, nn.Module]:
        """Return name of a batch norm in a subnet -> where this network keeps what is in it."""
        raise NotImplementedError

    def switch(self, width: W) -> Switch:
        """Return the switch of a width, by which batch norms tell subnets apart.

        Raises:
            ValueError: if this network cannot run at that width.
        """
        sizes = self.sizes(width)
        # Without statistics of their own all subnets are alike, and share the views that layers keep of each size.
        key = sizes.key if any(sizes.key in norm.statistics for norm in self._universal) else ""
        if width in self.widths:
            return Switch(self.widths.index(width), key)
        return Switch(self.plans.index(sizes) if sizes in self.plans else None, key)

    def extract(self, width: W, calibration: Iterable[Tensor] | None = None) -> Any:
        """Return an independent plain network that computes the same as the subnet of a width.

        Args:
            width: a width.
            calibration: batches of images to take batch-norm statistics from, for this copy alone.

        Raises:
            ValueError: if this network cannot run at that width.
        """
        return independent(self.at(width), calibration)

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Any], widths: Sequence[W] | None = None) -> None:
        """Take new batch-norm statistics for some widths and keep them: plain averages over ``batches``.

        Each width normalizes by its own batch statistics meanwhile; weights stay. A universally slimmable network may
        get widths that it was never trained at. A batch norm shared by several widths averages over them all.

        Args:
            batches: images, each of shape ``(batch, channels, height, width)``, or images and labels.
            widths: the widths to calibrate; all switches if left out.

        Raises:
            ValueError: if there are no batches, or this network cannot run at a width.
        """
        widths = self.widths if widths is None else widths
        calibrated = copy.deepcopy(self)  # so that half an average, if this fails, passes for nothing
        calibrated._average_statistics(batches, widths)
        self.load_state_dict(dict(calibrated.named_buffers()), strict=False)
        Elastic.forget(self)

    def _average_statistics(self, batches: Iterable[Any], widths: Sequence[W]) -> None:
        self.reset_statistics(widths)
        networks = [self.at(width).eval() for width in widths]
        norms = [[m.train() for m in network.modules() if isinstance(m, _BatchNorm)] for network in networks]
        seen, counted = 0, Counter[int]()
        for images in batches:
            for network, own in zip(networks, norms, strict=True):
                for norm in own:  # plain averages; PyTorch's own way would read its counter from the device
                    counted[id(norm.num_batches_tracked)] += 1
                    norm.momentum = 1 / counted[id(norm.num_batches_tracked)]
                network(images_of(images))
            seen += 1
        if not seen:
            raise ValueError("calibrate got no batches; give it at least one batch of training images")

    def reset_statistics(self, widths: Sequence[W] | None = None) -> None:
        """Set stored statistics to mean 0 and variance 1; a universally slimmable network then has a place for them.

        Args:
            widths: the widths to reset; all switches if left out.

        Raises:
            ValueError: if this network cannot run at a width.
        """
        kept = self.elastic_norms()
        for width in self.widths if widths is None else widths:
            key = self.sizes(width).key
            for name, module in self.at(width).named_modules():
                if name not in kept or not isinstance(module, _BatchNorm):
                    continue
                norm = kept[name]
                if isinstance(norm, ElasticUniversalBatchNorm2d):
                    norm.reset_statistics(module.num_features, key)
                else:
                    module.reset_running_stats()  # in place, so the shared ones too
        Elastic.forget(self)


def names_of(widths: Sequence[W]) -> dict[float, W]:
    """Return name of a width -> the width: a multiplier is its own, and what AutoSlim found has its number, from 1."""
    return {width if isinstance(width, (int, float)) else number: width for number, width in enumerate(widths, start=1)}


def elastic_norms_of(network: nn.Module) -> dict[str, nn.Module]:
    """Return the elastic batch norms inside a network, by name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, ElasticNorm)}
