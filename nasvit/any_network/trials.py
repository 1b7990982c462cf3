"""Tries whether a network runs without some of its blocks, and with smaller kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import numpy as np
from torch import Tensor, nn

from nasvit.any_network.agreement import Difference, first_difference
from nasvit.any_network.attributes import Search
from nasvit.any_network.followed import Followed, Step
from nasvit.any_network.runs import Run, cropped
from nasvit.any_network.shell import shell_of

T = TypeVar("T")


def working(parts: Sequence[T], trial: Callable[[Sequence[T]], Difference | None]) -> Sequence[T]:
    """Return the parts without which the network runs: all at once, or else those that it can do without alone."""
    if not parts or trial(parts) is None:
        return parts
    return [part for part in parts if trial([part]) is None]


class Trial:
    """Tries what else can be decided."""

    def __init__(self, bare: nn.Module, images: Tensor, found: Followed, search: Search) -> None:
        self.bare, self.images, self.found, self.search = bare, images, found, search
        self.whole = np.array([group.units for group in search.groups], dtype=np.int64)

    def runs_without(self, runs: Sequence[Run]) -> Difference | None:
        """Return what goes wrong without the removable blocks of some runs; None: nothing."""
        left_out = [path for run in runs for path in run.blocks[run.fewest :]]
        steps = [step for step in self.found.steps if not any(path in left_out for path in step.path)]
        network = shell_of(self.bare, lambda name, tensor, module: tensor, {}, left_out)
        return self._difference(network, steps)

    def crops(self, paths: Sequence[str]) -> Difference | None:
        """Return what goes wrong with smaller kernels of some convolutions; None: nothing."""
        weights = {f"{path}.weight" for path in paths}

        def smaller(name: str, tensor: Tensor, holder: nn.Module) -> Tensor:
            if name not in weights:
                return tensor
            return nn.Parameter(tensor[..., 1:-1, 1:-1].clone(), requires_grad=False)

        modules = {path: cast(nn.Conv2d, self.bare.get_submodule(path)) for path in paths}
        values = {path: cropped(module, module.kernel_size[0] - 2) for path, module in modules.items()}
        return self._difference(shell_of(self.bare, smaller, values), self.found.steps)

    def _difference(self, network: nn.Module, steps: Sequence[Step]) -> Difference | None:
        return first_difference(network, self.images, steps, self.search.sizes, self.whole)
