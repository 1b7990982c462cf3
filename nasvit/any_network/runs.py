"""Runs of residual blocks, of which the last can be left out, and convolutions whose kernels can be cropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from nasvit.any_network.following import Call, Followed


@dataclass(frozen=True)
class Run:
    """Blocks one after the other, of which the last ones can be left out.

    Args:
        name: path of the module that holds them; from its second run on with a number.
        blocks: paths of its children that run, in order, up to the last one that can be left out.
        removable: how many of the last can be left out.
        calls: the calls of those, in order.
    """

    name: str
    blocks: tuple[str, ...]
    removable: int
    calls: tuple[Call, ...]

    @property
    def fewest(self) -> int:
        """Blocks that have to stay: at least one."""
        return max(1, len(self.blocks) - self.removable)


def runs_of(network: nn.Module, found: Followed) -> list[Run]:
    """Return the runs of blocks that add to what they get, by the modules that hold them.

    A block has weights, gives a map of the same channels as it takes, and adds something to that inside, so that
    without it the network runs on. Blocks inside blocks of a run are none.
    """
    calls = {call.path: call for call in found.calls}
    times = _times_run(found)
    runs: list[Run] = []
    for path, module in network.named_modules():
        if any(f"{path}.".startswith(f"{block}.") for run in runs for block in run.blocks[-run.removable :]):
            continue
        children = [f"{path}.{name}" if path else name for name in module._modules]
        blocks = [child for child in children if times.get(child)]
        own = [run for run in _runs_among(network, found, calls, times, blocks) if run[0]]
        for number, (count, until) in enumerate(own, 1):
            start = own[number - 2][1] if number > 1 else 0
            name = (path or "network") + (f"[{number}]" if number > 1 else "")
            removed = blocks[until - count : until]
            runs.append(Run(name, tuple(blocks[start:until]), count, tuple(calls[child] for child in removed)))
    return [run for run in runs if len(run.blocks) > 1]


def _runs_among(
    network: nn.Module, found: Followed, calls: dict[str, Call], times: dict[str, int], blocks: Sequence[str]
) -> list[tuple[int, int]]:
    """Return for every row of blocks that can be left out how many there are, and where it ends."""
    rows: list[tuple[int, int]] = []
    count = 0
    kinds = [type(network.get_submodule(path)) for path in blocks]
    for position, path in enumerate(blocks):
        call, is_one_of_many = calls.get(path), kinds.count(kinds[position]) > 1
        module = network.get_submodule(path)
        if call is not None and times[path] == 1 and _is_residual(module, found, call, is_one_of_many):
            count += 1
        elif count:
            rows.append((count, position))
            count = 0
    return [*rows, (count, len(blocks))] if count else rows


def _times_run(found: Followed) -> dict[str, int]:
    """Return path of a module -> how many separate times it ran."""
    times: dict[str, int] = {}
    before: tuple[str, ...] = ()
    for step in found.steps:
        for path in step.path:
            if path not in before:
                times[path] = times.get(path, 0) + 1
        before = step.path
    return times


def _is_residual(module: nn.Module, found: Followed, call: Call, is_one_of_many: bool) -> bool:
    """Return whether a module gives what it takes plus something; one of many may do something to that afterwards."""
    if isinstance(module, (nn.Sequential, nn.ModuleList)) or not (call.is_sum or (call.adds and is_one_of_many)):
        return False
    if not any(parameter.ndim > 1 for parameter in module.parameters()):
        return False
    taken, given = call.taken, call.given
    roots = found.store.roots
    return taken.keys() == given.keys() and all(np.array_equal(roots(taken[a]), roots(given[a])) for a in taken)


def croppable_kernels(network: nn.Module, found: Followed) -> Iterator[tuple[str, nn.Conv2d]]:
    """Yield path and module of the depthwise convolutions whose kernels could be smaller."""
    used = {step.path[-1] for step in found.steps}
    for path, module in network.named_modules():
        if path in used and isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels:
            side = module.kernel_size[0]
            square = module.kernel_size == (side, side) and len({*module.dilation}) == 1
            if square and side % 2 and side >= 5:
                yield path, module


def cropped(module: nn.Conv2d, side: int) -> dict[str, object]:
    """Return the attributes of a convolution with a smaller kernel that gives maps of the same size."""
    lost = (module.kernel_size[0] - side) // 2
    values: dict[str, object] = {"kernel_size": (side, side)}
    if isinstance(module.padding, tuple) and any(module.padding):
        padding = tuple(pad - lost * step for pad, step in zip(module.padding, module.dilation, strict=True))
        values["padding"] = padding
        values["_reversed_padding_repeated_twice"] = [pad for pad in reversed(padding) for _ in range(2)]
    return values
