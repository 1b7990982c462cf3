"""What one subnet keeps: units, blocks and kernels, and the positions of tensors that this means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nasvit.any_network.gathered import Index
from nasvit.any_network.groups import Group
from nasvit.any_network.plan import Plan
from nasvit.any_network.sizes import Kept
from search_spaces.elastic import ElasticArchitecture


@dataclass(frozen=True)
class Chosen:
    """The sizes of one subnet.

    Args:
        kept: units of every group.
        left_out: paths of the blocks that are left out.
        kernels: path of a convolution -> side of its kernel, where it is cropped.
    """

    kept: Kept
    left_out: tuple[str, ...]
    kernels: Mapping[str, int]


def chosen_of(plan: Plan, architecture: ElasticArchitecture) -> Chosen:
    """Return what an architecture keeps of a network."""
    widths, depths, sides = dict(architecture.width), dict(architecture.depth), dict(architecture.kernel_size)
    kept = np.array([widths.get(group.name, group.units) for group in plan.groups], dtype=np.int64)
    left_out = [path for run in plan.runs for path in run.blocks[depths.get(run.name, len(run.blocks)) :]]
    kernels = {path: sides[path] for path, side in plan.kernels.items() if sides.get(path, side) < side}
    return Chosen(kept, tuple(left_out), kernels)


@dataclass(frozen=True)
class _Axis:
    """An axis of a tensor: for every position the group that it belongs to, or -1, and the number of its unit."""

    owner: NDArray[np.int64]
    unit: NDArray[np.int64]

    def kept(self, kept: Kept) -> slice | Tensor:
        """Return the positions that a subnet keeps."""
        limits = np.append(kept, len(self.owner) + 1)  # owner -1 reads the last one
        (positions,) = np.nonzero(self.unit < limits[self.owner])
        first, last = int(positions[0]), int(positions[-1])
        if last - first + 1 == len(positions):
            return slice(first, last + 1)
        return torch.from_numpy(positions)


class Positions:
    """Which positions of its tensors the subnets of a network keep.

    Args:
        network: the network.
        groups: its groups.
    """

    def __init__(self, network: nn.Module, groups: Sequence[Group]) -> None:
        self._axes: dict[str, dict[int, _Axis]] = {}
        self._groups: dict[str, tuple[int, ...]] = {}
        self._known: dict[object, Index | None] = {}
        shapes = {name: tensor.shape for name, tensor in [*network.named_parameters(), *network.named_buffers()]}
        for number, group in enumerate(groups):
            for (name, axis), positions in group.places.items():
                size = shapes[name][axis]
                axes = self._axes.setdefault(name, {})
                held = axes.setdefault(axis, _Axis(np.full(size, -1), np.zeros(size, np.int64)))
                held.owner[positions] = number
                held.unit[positions] = np.arange(group.units)[:, None]
                if number not in self._groups.get(name, ()):
                    self._groups[name] = (*self._groups.get(name, ()), number)

    def __deepcopy__(self, memo: dict[int, object]) -> Positions:
        return self  # nothing that counts in it ever changes

    def key(self, name: str, chosen: Chosen) -> tuple[int, ...]:
        """Return numbers that are equal exactly for subnets that keep the same of a tensor."""
        module = name.rpartition(".")[0]
        side = chosen.kernels.get(module, 0) if name.endswith(".weight") else 0
        return (side, *(int(chosen.kept[group]) for group in self._groups.get(name, ())))

    def index(self, name: str, tensor: Tensor, chosen: Chosen) -> Index | None:
        """Return what a subnet keeps along every axis of a tensor; None: all of it."""
        key = (name, tensor.device, *self.key(name, chosen))
        if key not in self._known:
            self._known[key] = self._index(name, tensor, chosen)
        return self._known[key]

    def along(self, name: str, axis: int, size: int, chosen: Chosen) -> slice | Tensor:
        """Return which positions of an axis of a tensor, which has so many, a subnet keeps."""
        axes = self._axes.get(name, {})
        return axes[axis].kept(chosen.kept) if axis in axes else slice(0, size)

    def _index(self, name: str, tensor: Tensor, chosen: Chosen) -> Index | None:
        module, _, own = name.rpartition(".")
        side = chosen.kernels.get(module) if own == "weight" else None
        index: list[slice | Tensor] = []
        for axis, size in enumerate(tensor.shape):
            kept = self.along(name, axis, size, chosen)
            if side is not None and axis >= 2:
                lost = (size - side) // 2
                kept = slice(lost, size - lost)
            index.append(kept.to(tensor.device) if isinstance(kept, Tensor) else kept)
        whole = all(isinstance(kept, slice) and kept == slice(0, size) for kept, size in zip(index, tensor.shape))
        return None if whole else tuple(index)
