"""Whether a smaller network runs as was foreseen, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nasvit.any_network.following import Step, name_of, tensors_in
from nasvit.any_network.sizes import Kept, Sizes


@dataclass(frozen=True)
class Difference:
    """Where a smaller network first does something else than was foreseen.

    Args:
        position: number of the step; how far everything agrees.
        step: what was foreseen.
        problem: what happened instead.
    """

    position: int
    step: Step
    problem: str


class _Differs(Exception):
    """Stops a network where it does something else than was foreseen."""


class _Comparison(TorchFunctionMode):
    """Compares names and shapes of what the code of a network calls with what was foreseen, and stops at a difference."""

    def __init__(self, expected: Sequence[tuple[str, tuple[tuple[int, ...], ...]]]) -> None:
        super().__init__()
        self.expected, self.position = expected, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        shapes = tuple(tuple(tensor.shape) for tensor in tensors_in(result))
        if not shapes:
            return result
        if self.position == len(self.expected):
            raise _Differs("it goes on")
        name, foreseen = self.expected[self.position]
        if (name, foreseen) != (name_of(func), shapes):
            raise _Differs(f"{name_of(func)} gives {_text(shapes)}, not {_text(foreseen)}")
        self.position += 1
        return result


def _text(shapes: Sequence[Sequence[int]]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes)


def first_difference(
    network: nn.Module, image: Tensor, steps: Sequence[Step], sizes: Sizes, kept: Kept
) -> Difference | None:
    """Run a smaller network and return where it first does something else than was foreseen; None: nowhere.

    Args:
        network: the smaller network.
        image: what it gets.
        steps: what the code of the whole network called.
        sizes: sizes of the labels.
        kept: units of every group in the smaller network, shape (groups,).
    """
    expected = [(step.name, tuple(map(partial(sizes.shape, kept=kept), step.shapes, step.axes))) for step in steps]
    comparison, problem = _Comparison(expected), ""
    with torch.no_grad(), slow_attention(), comparison:
        try:
            network(image)
        except _Differs as difference:
            problem = str(difference)
        except Exception as error:  # whatever the code of the network raises
            problem = f"{type(error).__name__}: {error}".split("\n")[0]
    position = comparison.position
    if position == len(steps) and not problem:
        return None
    return Difference(position, steps[min(position, len(steps) - 1)], problem or "nothing")


@contextmanager
def slow_attention() -> Iterator[None]:
    """Do without the fast path of ``nn.MultiheadAttention``, one large operation that nothing is known of."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
