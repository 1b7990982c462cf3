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

from nasvit.elasticize.following import Step, name_of, tensors_in
from nasvit.elasticize.sizes import Kept, Sizes

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


class _Recorder(TorchFunctionMode):
    """Notes names and shapes of what the code of a network calls."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[tuple[str, tuple[tuple[int, ...], ...]]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = tensors_in(result)
        if tensors:
            self.ran.append((name_of(func), tuple(tuple(tensor.shape) for tensor in tensors)))
        return result


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
    recorder, problem = _Recorder(), ""
    with torch.no_grad(), slow_attention(), recorder:
        try:
            network(image)
        except Exception as error:  # whatever the code of the network raises
            problem = f"{type(error).__name__}: {error}".split("\n")[0]
    for position, step in enumerate(steps):
        if position >= len(recorder.ran):
            return Difference(position, step, problem or "nothing")
        name, shapes = recorder.ran[position]
        expected = tuple(map(partial(sizes.shape, kept=kept), step.shapes, step.axes))
        if name != step.name or shapes != expected:
            return Difference(position, step, f"{name} gives {shapes}, not {expected}")
    if len(recorder.ran) > len(steps) or problem:
        return Difference(len(steps), steps[-1], problem or "it goes on")
    return None


@contextmanager
def slow_attention() -> Iterator[None]:
    """Do without the fast path of ``nn.MultiheadAttention``, one large operation that nothing is known of."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
