"""All switches of a slimmable network in one object for inference."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from nasvit.any_network.widths import SlimmableModel
from nasvit.branches import fuse as fused
from nasvit.dense.shared import DenseSlimmable
from nasvit.layers.batch_norm import lacks_statistics
from nasvit.specs import SwitchableSpec
from nasvit.supernets.slimmable import SlimmableNetwork, Width
from nasvit.supernets.widths import Slimmable


class SwitchableModel(nn.Module):
    """A network that runs at each of several widths, for inference only.

    ``model(images, width=0.5)`` runs one width. All widths share one memory: the weights of the largest, and the
    batch norms of each. The model stores no active width, so threads may run different ones at once.

    :func:`deploy` returns such models, and :func:`nasvit.load_network` loads saved ones.

    Args:
        network: the network, which the model takes over without its gradients; every width needs batch-norm statistics.

    Shape:
        ``(batch, image channels, height, width) -> (batch, classes)``
    """

    def __init__(self, network: Slimmable[Any]) -> None:
        super().__init__()
        self.shared = network
        network.requires_grad_(False)
        for parameter in network.parameters():
            parameter.grad = None
        self.widths = network.widths
        self.largest = max(self.widths, key=network.channels)
        self._ready()
        self.register_load_state_dict_post_hook(_ready_again)
        super().train(False)

    def _ready(self) -> None:
        """Create the subnets; they are not children of the module, because ``shared`` owns their weights."""
        if "_chosen" not in self.__dict__:  # a width that is chosen now outlives a move or a cast
            self._chosen: ContextVar[Any] = ContextVar("width", default=self.largest)
        self.shared.forget()
        self.shared.eval()
        self._subnets = {width: self.shared.at(width) for width in self.widths}

    def forward(self, images: Tensor, width: Any = None) -> Tensor:
        """Return the scores of one width.

        Args:
            images: shape ``(batch, image channels, height, width)``.
            width: one of ``widths``; None: the width of :meth:`running_at`, or the largest.

        Raises:
            ValueError: if there is no such width.
        """
        scores: Tensor = self._subnet(self._chosen.get() if width is None else width)(images)
        return scores

    @contextmanager
    def running_at(self, width: Any) -> Iterator[None]:
        """Set the width of calls without one, in this thread (or asynchronous task) and for this model only.

        Raises:
            ValueError: if there is no such width.
        """
        self._subnet(width)
        before = self._chosen.set(width)
        try:
            yield
        finally:
            self._chosen.reset(before)

    def at(self, width: Any) -> nn.Module:
        """Return one width as an ordinary module that shares the memory of this model.

        Raises:
            ValueError: if there is no such width.
        """
        self._subnet(width)
        return self.shared.at(width)

    def export(self, width: Any, *, fuse: bool = False) -> nn.Module:
        """Return one width as an independent, ordinary module, as :func:`nasvit.export_program` takes it.

        Args:
            width: one of ``widths``.
            fuse: fold its batch norms into the convolutions.

        Raises:
            ValueError: if there is no such width.
        """
        self._subnet(width)
        network = self.shared.extract(width).requires_grad_(True)
        return fused(network, batch_norms=True) if fuse else network

    def _subnet(self, width: Any) -> nn.Module:
        if width not in self._subnets:
            raise ValueError(f"width={width} is none of this model's widths: {', '.join(map(str, self.widths))}")
        return self._subnets[width]

    def train(self, mode: bool = True) -> SwitchableModel:
        """Stay in evaluation mode.

        Raises:
            ValueError: if ``mode`` is True.
        """
        if mode:
            raise ValueError("a deployed model only evaluates; train the slimmable network, or model.export(width)")
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> SwitchableModel:
        super()._apply(fn, recurse)
        self._ready()
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_subnets", "_chosen")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._ready()

    def extra_repr(self) -> str:
        return f"widths={self.widths}"


@torch.no_grad()
def deploy(network: Slimmable[Any], widths: Sequence[Any] | None = None) -> SwitchableModel:
    """Return some widths of a trained network as one compact model for inference.

    Args:
        network: a trained network, which is not changed; a universally slimmable one is calibrated for the widths.
        widths: widths to deploy; all switches if left out.

    Raises:
        ValueError: if the network cannot run at a width, or has no batch-norm statistics for it.
    """
    chosen = network.widths if widths is None else tuple(widths)
    if isinstance(network, SlimmableModel):
        for width in chosen:
            _check_statistics(network.at(width), width)
        return SwitchableModel(network.reduced(chosen))
    if isinstance(network, DenseSlimmable):
        return SwitchableModel(copy.deepcopy(network))
    assert isinstance(network, SlimmableNetwork)
    spec = spec_of_widths(network, chosen)
    like = next(network.parameters())
    compact = spec.empty(network.classes).to(device=like.device, dtype=like.dtype)
    for width in spec.widths:
        subnet = network.at(width)
        _check_statistics(subnet, width)
        pairs = zip(_tensors(subnet), _tensors(compact.at(width)), strict=True)
        for source, target in pairs:
            target.copy_(source)
    return SwitchableModel(compact)


def spec_of_widths(network: SlimmableNetwork, widths: Sequence[Width]) -> SwitchableSpec:
    """Return the spec of a network with some widths of ``network``, which computes the same at them."""
    return SwitchableSpec(
        network.fixed_family, tuple(widths), network.norm, network.head_norm, network.stem.image_channels
    )


def _ready_again(model: SwitchableModel, _: Any) -> None:
    model._ready()  # loading may have put other tensors in place


def _tensors(subnet: nn.Module) -> list[Tensor]:
    return [*subnet.parameters(), *subnet.buffers()]


def _check_statistics(subnet: nn.Module, width: Any) -> None:
    if any(map(lacks_statistics, subnet.modules())):
        raise ValueError(
            f"width={width} has no batch-norm statistics; call network.calibrate(batches, [{width}]) before deploy"
        )
