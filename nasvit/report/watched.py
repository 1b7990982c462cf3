"""What the channels of a network's layers say of images, and which channels the widths of a network share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from nasvit.export.card import Card
from nasvit.export.saved import load_saved
from nasvit.export.shipping import as_saved
from nasvit.export.switchable import SwitchableModel
from nasvit.supernets.widths import names_of

_WITH_CHANNELS = (_ConvNd, _BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.Linear)


@dataclass(frozen=True)
class Said:
    """What a channel says of a batch of images.

    Args:
        values: its largest value in every image, ``(batch,)``.
        cells: row and column of that value in its map, ``(batch, 2)``; 0 of layers without one.
        outputs: what the whole network returned.
    """

    values: Tensor
    cells: Tensor
    outputs: Any


@dataclass(frozen=True)
class Layer:
    """A layer at one width.

    Args:
        shape: of what it returns of one image.
        axis: the axis of its channels, in ``shape``.
        channels: number of each channel in the whole network.
    """

    shape: tuple[int, ...]
    axis: int
    channels: tuple[int, ...]

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of its map; 1 and 1 if it has none."""
        rest = [side for axis, side in enumerate(self.shape) if axis != self.axis]
        return (rest[0], rest[1]) if len(rest) == 2 else (1, 1)


class Watched:
    """One width of a network, of which the channels of layers can be watched.

    Args:
        width: its name; None: the network has one width only.
        network: the network, plain, as it was saved.
        card: its card.
        channels_of: name of a tensor, number of channels -> the number of each in the whole network.
    """

    def __init__(
        self, width: float | None, network: nn.Module, card: Card, channels_of: Callable[[str, int], Sequence[int]]
    ) -> None:
        self.width, self.card, self._channels_of = width, card, channels_of
        self._network = as_saved(network, card)
        self._modules = dict(self._network[-1].named_modules())  # type: ignore[index]
        self.layers: Mapping[str, Layer] = self._find()

    @property
    def label(self) -> str:
        """The width in words; empty if there is one only."""
        return "" if self.width is None else f"width {self.width:g}"

    def of(self, name: str, channel: int, pixels: Tensor) -> Said:
        """Return what a channel says of images.

        Args:
            name: one of ``layers``.
            channel: number of the channel in the whole network.
            pixels: from 0 to 1, ``(batch, channels, height, width)``.
        """
        layer, heard = self.layers[name], list[Tensor]()
        with self._modules[name].register_forward_hook(lambda _, __, output: heard.append(output)):
            outputs = self._run(pixels)
        own = layer.channels.index(channel)
        values, places = heard[0].select(layer.axis + 1, own).reshape(len(pixels), -1).max(1)
        rows, columns = layer.grid
        cells = torch.stack([places // columns % rows, places % columns], 1)
        return Said(values.float(), cells, outputs)

    @torch.inference_mode()
    def _run(self, pixels: Tensor) -> Any:
        return self._network(pixels)

    def _find(self) -> dict[str, Layer]:
        """Return all layers that have channels, in the order in which they run."""
        found: dict[str, Layer] = {}
        hooks = [
            module.register_forward_hook(lambda _, __, output, name=name: self._note(found, name, output))
            for name, module in self._modules.items()
            if _tensor_of(module) is not None
        ]
        self._run(torch.zeros(1, *self.card.shape))
        for hook in hooks:
            hook.remove()
        return found

    def _note(self, found: dict[str, Layer], name: str, output: Any) -> None:
        module = self._modules[name]
        tensor = _tensor_of(module)
        assert tensor is not None
        count, shape = len(tensor[1]), tuple(output.shape[1:])
        first = isinstance(module, (_ConvNd, _BatchNorm, nn.GroupNorm))
        axes = [axis for axis in ((0, -1) if first else (-1, 0)) if shape and shape[axis] == count]
        if axes and name not in found:
            axis = axes[0] % len(shape)
            found[name] = Layer(shape, axis, tuple(self._channels_of(f"{name}.{tensor[0]}", count)))


def _tensor_of(module: nn.Module) -> tuple[str, Tensor] | None:
    """Return the tensor of a layer whose first axis is its channels, with its name."""
    if not isinstance(module, _WITH_CHANNELS) or getattr(module, "transposed", False):
        return None
    for name in ("weight", "running_mean"):
        tensor = getattr(module, name, None)
        if isinstance(tensor, Tensor):
            return name, tensor
    return None


def watched_widths(folder: Path) -> list[Watched]:
    """Return all widths of a saved network, the narrowest first; of a network with one width that one.

    Raises:
        ValueError: if there is no such network.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: channels are watched in saved networks, and this is no folder of one")
    network, card = load_saved(folder)
    if not isinstance(network, SwitchableModel):
        return [Watched(None, network, card, lambda _, count: range(count))]
    shared = network.shared

    def watched(name: float, width: Any) -> Watched:
        channels_of = partial(shared.channels_of, width)
        return Watched(name, network.export(width), card, channels_of)

    widths = names_of(network.widths)
    return [watched(name, widths[name]) for name in sorted(widths, key=lambda name: shared.channels(widths[name]))]
