"""The numbers of steps, kept on the device and read some steps later, so that the host never waits for a step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nasvit.compute import Compute


@dataclass
class Reading:
    """The numbers of one step.

    Args:
        step: optimizer steps done with it.
        names: names of the numbers on the device.
        read: reads them.
        host: numbers that the host knows, such as the learning rate.
        logged: whether they are in the log already.
    """

    step: int
    names: tuple[str, ...]
    read: Callable[[], list[float]]
    host: dict[str, float]
    logged: bool = False

    @cached_property
    def values(self) -> dict[str, float]:
        """The numbers by name; reading them waits for the step, and for no later one."""
        return dict(zip(self.names, self.read(), strict=True))


class Readings:
    """The steps that were begun and whose numbers were not judged yet.

    Args:
        compute: the device, which says how much later a step is read; 0 steps on a processor.
    """

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self._waiting: deque[Reading] = deque()

    def add(self, step: int, values: dict[str, Tensor], host: dict[str, float]) -> None:
        """Add the numbers of a step, scalars on the device."""
        exact = torch.float64 if self._compute.device.type == "cpu" else torch.float32
        joined = torch.stack([value.detach().to(exact) for value in values.values()])
        self._waiting.append(Reading(step, tuple(values), self._compute.later(joined), host))

    def due(self, *, whole: bool = False) -> Iterator[Reading]:
        """Yield and forget the steps that are old enough to be read, oldest first.

        Args:
            whole: all steps, at the price of waiting for the last.
        """
        while len(self._waiting) > (0 if whole else self._compute.late_steps):
            yield self._waiting.popleft()

    def all(self) -> list[Reading]:
        """Return all steps that wait, oldest first, and keep them."""
        return list(self._waiting)

    def forget(self) -> None:
        """Drop all steps that wait, as after going back to an earlier one."""
        self._waiting.clear()
