"""Runtimes that time modules in this process: PyTorch as it is, and those of exported files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from nasvit.compute import CPU
from nasvit.costs.latency.command import CommandRuntime
from nasvit.costs.latency.exporting import RUNTIMES, PrecisionName, RuntimeName, example, exported, require
from nasvit.costs.latency.measure import Measure, NoisePolicy, in_turns
from nasvit.costs.latency.timed_modules import TimedModule
from nasvit.costs.latency.timers import Timer, current, timer_on
from nasvit.costs.latency.timing_log import Timing
from nasvit.export.timing import processor

Load: TypeAlias = Callable[[TimedModule], Callable[[], object]]
"""Prepares a module and returns the function that runs it once."""


class InProcessRuntime:
    """Times modules in this process, in turns with a yardstick.

    Args:
        load: prepares a module.
        yardstick: the module to compare every other one with.
        policy: warm-up, repeats and length of a turn.
        timer: times the modules.
        threads: threads of one operation.
        device: device that the modules run on.
    """

    def __init__(
        self,
        load: Load,
        yardstick: TimedModule,
        policy: NoisePolicy,
        timer: Timer,
        *,
        threads: int = 1,
        device: torch.device = CPU,
    ) -> None:
        self.load, self.policy, self.timer, self.threads, self.device = load, policy, timer, threads, device
        self.yardstick = load(yardstick)

    def __call__(self, module: TimedModule) -> Timing:
        """Return the milliseconds of one call."""
        run = self.load(module)
        with _torch_threads(self.threads), torch.inference_mode(), current(self.device):
            return in_turns(run, self.yardstick, self.policy, self.timer)


def torch_loader(device: torch.device = CPU, precision: PrecisionName = "float32") -> Load:
    """Return the loader that runs plain modules as they are, on a channels-last map where that is the fast layout.

    Args:
        device: device of modules and maps.
        precision: type of weights and maps.
    """
    dtype = getattr(torch, precision)
    layout = torch.contiguous_format if device.type == "mps" else torch.channels_last

    def load(timed: TimedModule) -> Callable[[], object]:
        module = timed.make().to(device, dtype)
        if device.type != "cpu":  # else every call would convert the weights to the layout of the map
            module = module.to(memory_format=layout)  # type: ignore[call-overload]
        x = _input(timed, layout).to(device, dtype)
        return lambda: module(x)

    return load


def _input(timed: TimedModule, layout: torch.memory_format) -> Tensor:
    """Return an input as it lies in memory where the module stands in a network."""
    x = example(timed.shape)
    if timed.stride is None:
        return x.contiguous(memory_format=layout)
    if layout is torch.contiguous_format or 0 in timed.stride:
        return x
    return torch.empty_strided(timed.shape, timed.stride).copy_(x)


def file_loader(runtime: RuntimeName, folder: Path, threads: int, precision: PrecisionName = "float32") -> Load:
    """Return the loader that runs exported files on this processor.

    Args:
        runtime: what runs them.
        folder: folder of the exported files.
        threads: threads of one operation.
        precision: "float32" or "int8".

    Raises:
        ImportError: if a package of the runtime is not installed.
    """
    require(runtime, precision)

    def load(module: TimedModule) -> Callable[[], object]:
        run = RUNTIMES[runtime].start(exported(module, folder, runtime, precision), threads)
        return partial(run, example(module.shape).numpy())

    return load


def make_measure(
    runtime: RuntimeName,
    *,
    command: str | None,
    threads: int,
    folder: Path,
    policy: NoisePolicy,
    yardstick: TimedModule,
    device: torch.device = CPU,
    precision: PrecisionName = "float32",
) -> Measure:
    """Return the function that measures one module.

    Args:
        runtime: what runs the modules; torch runs them as they are.
        command: measures exported files instead; see :class:`CommandRuntime`.
        threads: threads of one operation; a command chooses its own.
        folder: folder of the exported files.
        policy: warm-up, repeats and length of a turn.
        yardstick: the module to compare every other one with; a command has none.
        device: device that torch runs modules on.
        precision: type of weights and maps; of files, float32 or int8.

    Raises:
        ImportError: if a package of the runtime is not installed.
    """
    if command is not None:
        return CommandRuntime(command, folder, runtime, precision)
    in_torch = runtime == "torch"
    load = torch_loader(device, precision) if in_torch else file_loader(runtime, folder, threads, precision)
    return InProcessRuntime(load, yardstick, policy, timer_on(device, threads), threads=threads, device=device)


@contextlib.contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def this_device() -> str:
    """Return the name of this machine's processor."""
    return processor()[0]
