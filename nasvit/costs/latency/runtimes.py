"""Runtimes that time modules in this process: PyTorch and ONNX Runtime."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

import torch

from nasvit.costs.latency.command import CommandRuntime
from nasvit.costs.latency.exporting import RuntimeName, example, exported, require
from nasvit.costs.latency.measure import Measure, NoisePolicy, in_turns
from nasvit.costs.latency.timed_modules import TimedModule
from nasvit.costs.latency.timing_log import Timing

Load: TypeAlias = Callable[[TimedModule], Callable[[], object]]
"""Prepares a module and returns the function that runs it once."""


class InProcessRuntime:
    """Times modules in this process, in turns with a yardstick.

    Args:
        load: prepares a module.
        yardstick: the module to compare every other one with.
        policy: warm-up, repeats and length of a turn.
        threads: threads of one operation; one thread is timed by its processor time, more by wall-clock time.
    """

    def __init__(self, load: Load, yardstick: TimedModule, policy: NoisePolicy, threads: int = 1) -> None:
        self.load, self.policy, self.threads = load, policy, threads
        self.yardstick = load(yardstick)

    def __call__(self, module: TimedModule) -> Timing:
        """Return the milliseconds of one call."""
        run = self.load(module)
        clock = time.thread_time_ns if self.threads == 1 else time.perf_counter_ns
        with _torch_threads(self.threads), torch.inference_mode():
            return in_turns(run, self.yardstick, self.policy, clock)


def load_torch(timed: TimedModule) -> Callable[[], object]:
    """Run a plain module as it is, on a channels-last map."""
    module, x = timed.make(), example(timed.shape).contiguous(memory_format=torch.channels_last)
    return lambda: module(x)


def onnx_loader(folder: Path, threads: int) -> Load:
    """Return the loader that runs exported files with ONNX Runtime on this processor.

    Args:
        folder: folder of the exported files.
        threads: threads of one operation.

    Raises:
        ImportError: if the ``export`` extra is not installed.
    """
    require("onnxruntime")
    onnxruntime = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1

    def load(module: TimedModule) -> Callable[[], object]:
        path = exported(module, folder, "onnxruntime")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: example(module.shape).numpy()}
        return lambda: session.run(None, feed)

    return load


def make_measure(
    runtime: RuntimeName,
    *,
    command: str | None,
    threads: int,
    folder: Path,
    policy: NoisePolicy,
    yardstick: TimedModule,
) -> Measure:
    """Return the function that measures one module.

    Args:
        runtime: "torch" or "onnxruntime".
        command: measures exported files instead; see :class:`CommandRuntime`.
        threads: threads of one operation; a command chooses its own.
        folder: folder of the exported files.
        policy: warm-up, repeats and length of a turn.
        yardstick: the module to compare every other one with; a command has none.

    Raises:
        ImportError: if a package of the runtime is not installed.
    """
    if command is not None:
        return CommandRuntime(command, folder, runtime)
    load = load_torch if runtime == "torch" else onnx_loader(folder, threads)
    return InProcessRuntime(load, yardstick, policy, threads)


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
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
