"""Our training step beside a straightforward one, in one run.

    python -m experiments.benchmarks.train_step --space micro32 --batch-size 64
    python -m experiments.benchmarks.train_step --space nasvit_release --resolution 224 --batch-size 128 --device cuda \
        --precision bfloat16

The straightforward step does what released code does: slices weights through autograd, keeps maps contiguous in
float32, mixes heads by a linear layer on a permuted tensor, and projects gradients in a Python loop over parameter
tensors. Both steps train the same subnets on the same images in the same precision, alternating, and the medians of
their times are compared. Peak memory, on an accelerator the device's, is measured in a process of its own for each.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

import search_spaces
from nasvit.compute import Compute, find_device
from nasvit.files.records import versions
from nasvit.layers import TalkingHeads
from nasvit.supernets.supernet import Supernet
from nasvit.tasks.distillation import AdaptiveAlphaDivergence
from nasvit.training.conflict import ConflictPolicy, Project
from nasvit.training.execution import Execution, Precision, Running
from nasvit.training.sampling import Member, Sandwich
from nasvit.training.step import shared_step
from search_spaces import Architecture

Step = Callable[[list[Architecture]], None]


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Args:
        space: search space.
        batch_size: images a step.
        steps: timed steps of each kind.
        threads: processor threads.
        device: where both steps run: cpu, cuda, xpu.
        precision: of both steps.
        compile: measure our step with the largest and the smallest subnet compiled, too.
        recompute: measure our step with blocks that are computed again in the backward pass, too.
        resolution: resolution of all subnets; None: as they are drawn.
        json: file for the result; none if left out.
        only: measure the peak memory of one step alone (used internally).
    """

    space: str = "micro32"
    batch_size: int = 64
    steps: int = 8
    threads: int = 1
    device: str = "cpu"
    precision: Precision = "float32"
    compile: bool = False
    recompute: bool = False
    resolution: int | None = None
    json: Path | None = None
    only: Literal["ours", "plain", "recomputed"] | None = None


class PermutedTalkingHeads(TalkingHeads):
    """Head mixing as released: a linear layer on the permuted map."""

    def forward(self, maps: Tensor) -> Tensor:
        return F.linear(maps.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


def train_on(
    supernet: Supernet,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    subnets: list[Architecture],
    conflict: ConflictPolicy,
    distill: AdaptiveAlphaDivergence,
    execution: Execution,
) -> None:
    """Run one step of ours on the largest, the smallest and other subnets, in this order."""
    supernet.zero_grad()
    shared_step(
        supernet,
        images.contiguous(memory_format=torch.channels_last),
        labels,
        members=[Member(each, fixed=number < 2) for number, each in enumerate(subnets)],
        criterion=F.cross_entropy,
        distill=distill,
        conflict=conflict,
        execution=execution,
    )
    optimizer.step()


class Bench:
    """One supernet, one batch, and the two steps on them.

    Args:
        settings: what is measured.
        compiled: compile the largest and the smallest subnet of our step.
        recomputed: compute the blocks of our step again in the backward pass.
        fused: let the optimizer step in one kernel, for which a GPU wants gradients laid out like their parameters.
    """

    def __init__(
        self, settings: Settings, *, compiled: bool = False, recomputed: bool = False, fused: bool = True
    ) -> None:
        torch.manual_seed(0)
        self.compute = Compute(find_device(settings.device))
        running = Running(precision=settings.precision, compile=compiled, recompute=recomputed)
        self.execution = Execution(running, self.compute)
        self.settings, self.space = settings, search_spaces.load(settings.space)
        self.supernet = self.compute.place(Supernet(self.space, 10))
        side = settings.resolution or max(self.space.resolution)
        images = torch.randn(settings.batch_size, self.space.image_channels, side, side)
        self.images, self.labels = (self.compute.put(each) for each in (images, torch.randint(10, (len(images),))))
        self.distill = AdaptiveAlphaDivergence()
        self.optimizer = torch.optim.AdamW(self.supernet.parameters(), lr=1e-4, fused=fused)
        self.conflict = Project([name for name, _ in self.supernet.named_parameters()])

    def ours(self, subnets: list[Architecture]) -> None:
        """Run one step of nasvit."""
        train_on(
            self.supernet,
            self.optimizer,
            self.images,
            self.labels,
            subnets,
            self.conflict,
            self.distill,
            self.execution,
        )

    def plain(self, subnets: list[Architecture]) -> None:
        """Run one step the straightforward way."""
        parameters, buffer = dict(self.supernet.named_parameters()), self.supernet.gradients.views
        largest, *others = subnets
        with self.execution.autocast():
            logits = self._sliced(largest, parameters)(self.images)
            loss = F.cross_entropy(logits, self.labels)
        weights = list(parameters.values())
        of_largest = torch.autograd.grad(loss, weights, allow_unused=True)
        sums: list[Tensor | None] = [None] * len(parameters)
        for architecture in others:
            with self.execution.autocast():
                loss = self.distill(self._sliced(architecture, parameters)(self.images), logits.detach())
            found = torch.autograd.grad(loss, weights, allow_unused=True)
            sums = [old if new is None else new if old is None else old + new for old, new in zip(sums, found)]
        self._project(weights, of_largest, sums)
        self.optimizer.step()
        for parameter, view in zip(weights, buffer):
            parameter.grad = view  # what the supernet expects when it is asked for the next subnet

    def _sliced(self, architecture: Architecture, parameters: dict[str, nn.Parameter]) -> Callable[[Tensor], Tensor]:
        """The subnet as a function of the supernet's parameters, sliced through autograd."""
        network = self.supernet.at(architecture)
        for module in network.modules():
            if isinstance(module, TalkingHeads):
                module.__class__ = PermutedTalkingHeads
        names = {id(parameter): parameters[name] for name, parameter in self.supernet.named_parameters()}
        views = dict(network.named_parameters())
        slices = {name: names[id(view.source)][view.slices] for name, view in views.items()}  # type: ignore[attr-defined, index]
        return lambda images: functional_call(network, slices, (images,))  # type: ignore[no-any-return]

    def of_resolution(self, subnet: Architecture) -> Architecture:
        """Return a subnet with the resolution of the settings."""
        wanted = self.settings.resolution
        return subnet if wanted is None else replace(subnet, resolution=wanted)

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.compute.device.type != "cpu":
            torch.accelerator.synchronize(self.compute.device)

    def peak_megabytes(self) -> float:
        """Return the peak memory so far: of the device, or of this process."""
        return peak_megabytes(self.compute)

    @staticmethod
    def _project(parameters: list[nn.Parameter], largest: tuple[Tensor | None, ...], sums: list[Tensor | None]) -> None:
        norm = torch.stack([grad.norm() for grad in sums if grad is not None]).norm()
        scale = min(1.0, float(1.0 / (norm + 1e-6)))
        for parameter, of_largest, of_others in zip(parameters, largest, sums):
            if of_largest is None or of_others is None:
                parameter.grad = of_largest
                continue
            clipped = of_others * scale
            weight = (-(clipped * of_largest).sum() / ((clipped * clipped).sum() + 1e-6)).clamp(0, 2)
            parameter.grad = (1 + weight) * clipped + of_largest


def measure(settings: Settings) -> tuple[dict[str, float], dict[str, float]]:
    """Return the median seconds of the steps, alternating over the same subnets; and when their sizes were new.

    On a GPU, libraries prepare every size of a convolution when they first see it, for whichever step comes first.
    There every kind of step runs twice, and the second run is what counts.
    """
    bench, other = Bench(settings), Bench(settings, fused=settings.device == "cpu")
    sampler, rng = Sandwich(bench.space), np.random.default_rng(0)
    times: dict[str, list[float]] = {"ours": [], "plain": [], "compiled": [], "recomputed": []}
    first: dict[str, list[float]] = {"ours": [], "plain": []}
    steps: dict[str, Step] = {"ours": bench.ours, "plain": other.plain}
    if settings.compile:
        steps["compiled"] = Bench(settings, compiled=True).ours
    if settings.recompute:
        steps["recomputed"] = Bench(settings, recomputed=True).ours
    for number in range(settings.steps + 2):
        subnets = [bench.of_resolution(member.subnet) for member in sampler(rng)]
        order = list(steps) if number % 2 == 0 else list(reversed(steps))
        prepared = number >= 2  # the first steps build caches
        if settings.device != "cpu":
            news = [_seconds(bench, steps[name], subnets) for name in order]
            if prepared and order[0] in first:
                first[order[0]].append(news[0])
        for name in order:
            seconds = _seconds(bench, steps[name], subnets)
            if prepared:
                times[name].append(seconds)
    return _medians(times), _medians(first)


def _seconds(bench: Bench, step: Step, subnets: list[Architecture]) -> float:
    alone = bench.compute.on_processor and bench.settings.threads == 1  # then other processes do not count
    clock = time.thread_time if alone else time.perf_counter
    start = clock()
    with bench.execution.numbers():
        step(subnets)
    bench.synchronize()
    return clock() - start


def _medians(times: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in times.items() if values}


def peak(settings: Settings, which: str) -> float:
    """Return the peak memory, in MB, that steps of one kind add, measured in a process of its own."""
    given = ("space", "batch_size", "precision", "device", "resolution")
    arguments = [f"--{name.replace('_', '-')}={getattr(settings, name)}" for name in given]
    command = [sys.executable, "-m", "experiments.benchmarks.train_step", "--only", which, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": str(settings.threads)}
    return float(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def peak_megabytes(compute: Compute) -> float:
    """Return the peak memory so far of a device, or of this process.

    ``getrusage`` would give that of the process that started it, if it was larger.
    """
    if not compute.on_processor:
        return float(torch.accelerator.max_memory_allocated(compute.device)) / 2**20
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main(settings: Settings) -> None:
    """Measure and print."""
    torch.set_num_threads(settings.threads)
    if settings.only is not None:
        fused, recomputed = settings.only != "plain" or settings.device == "cpu", settings.only == "recomputed"
        bench = Bench(settings, recomputed=recomputed, fused=fused)
        before = bench.peak_megabytes()
        step: Step = bench.plain if settings.only == "plain" else bench.ours
        for _ in range(2):
            step(list(map(bench.of_resolution, [bench.space.largest, bench.space.smallest, bench.space.largest])))
        print(bench.peak_megabytes() - before)
        return
    seconds, first = measure(settings)
    ratio = seconds["plain"] / seconds["ours"]
    for which, each in seconds.items():
        print(f"{which:8} {1e3 * each:8.1f} ms a step, {settings.batch_size / each:7.1f} images/s", flush=True)
    print(f"plain / ours: {ratio:.2f} (median of {settings.steps} alternating steps)", flush=True)
    for which, each in first.items():
        print(f"{which:8} {1e3 * each:8.1f} ms where the sizes are new to the device", flush=True)
    if settings.json is not None:
        _write(settings, seconds, first, {})
    memory = {which: round(peak(settings, which), 1) for which in seconds if which != "compiled"}
    print("peak memory:", ", ".join(f"{which} {each:.1f} MB" for which, each in memory.items()))
    if settings.json is not None:
        _write(settings, seconds, first, memory)


def _write(settings: Settings, seconds: dict[str, float], first: dict[str, float], memory: dict[str, float]) -> None:
    assert settings.json is not None
    result: dict[str, Any] = {
        "ratio": round(seconds["plain"] / seconds["ours"], 3),
        "milliseconds": {name: round(1e3 * each, 1) for name, each in seconds.items()},
        "device": str(Compute(find_device(settings.device))),
    }
    if first:
        result["milliseconds_where_sizes_are_new"] = {name: round(1e3 * each, 1) for name, each in first.items()}
    config = {name: each for name, each in asdict(settings).items() if name not in ("json", "only")}
    content = {**result, "peak_memory_mb": memory, "settings": config, "versions": versions()}
    settings.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Settings))
