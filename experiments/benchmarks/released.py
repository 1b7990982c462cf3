"""Our training step beside the released one of NASViT or AlphaNet, on the same subnets and images.

    git clone https://github.com/facebookresearch/NASViT; git clone https://github.com/facebookresearch/AttentiveNAS
    python -m experiments.benchmarks.released nasvit NASViT --steps 8
    python -m experiments.benchmarks.released alphanet AttentiveNAS --precision bfloat16
    python -m experiments.benchmarks.released nasvit NASViT --device cuda --batch-size 128 --precision bfloat16

The released supernet is imported from the checkout and nothing else of it; its search space is made from ours. A step
is what the released training loops do on one device: the largest subnet on the labels, the smallest and two random ones
on its outputs (with the same loss on both sides: what is compared is the networks, their weights and gradients),
clipping, the projection of NASViT (by its own optimizer) or none for AlphaNet, and an update: AdamW for NASViT,
SGD for AlphaNet. Steps alternate; on a processor the time of this thread counts, on a GPU the clock, and there every
step runs twice, since sizes that are new to it take seconds. Each side has a process of its own, whose peak of memory
counts.
"""

from __future__ import annotations

import importlib
import multiprocessing
import statistics
import sys
import time
import warnings
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from io import StringIO
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional as F
from tyro.conf import Positional

import search_spaces
from experiments.benchmarks.train_step import peak_megabytes, train_on
from experiments.rows import rows_in
from nasvit.compute import Compute, find_device
from nasvit.files.records import versions, write_json
from nasvit.supernets.supernet import Supernet
from nasvit.tasks.distillation import AdaptiveAlphaDivergence
from nasvit.training.conflict import ConflictPolicy, Project, Sum
from nasvit.training.execution import Execution, Precision, Running
from nasvit.training.sampling import Sandwich
from search_spaces import Architecture, Space

Method = Literal["nasvit", "alphanet"]
Side = Literal["ours", "released"]

SPACES = {"nasvit": "nasvit_release", "alphanet": "alphanet"}


@dataclass(frozen=True)
class Asked:
    """What is measured.

    Args:
        method: whose released code.
        checkout: folder of that code.
        batch_size: images a step.
        most: subnets of larger resolutions run at this one.
        steps: timed steps of each side.
        threads: processor threads.
        device: where both run.
        precision: of both.
        recompute: blocks of our side are computed again in the backward pass.
        costliest: so many of our costliest operations are printed.
        json: file that the result is added to; none if left out.
    """

    method: Positional[Method]
    checkout: Positional[Path]
    batch_size: int = 8
    most: int = 224
    steps: int = 8
    threads: int = 1
    device: str = "cpu"
    precision: Precision = "float32"
    recompute: bool = False
    costliest: int = 10
    json: Path | None = None


class Ours:
    """Our supernet and its step."""

    def __init__(self, asked: Asked, space: Space, compute: Compute) -> None:
        torch.manual_seed(0)
        compute.hold_memory()  # as a trainer does
        self.execution = Execution(Running(precision=asked.precision, recompute=asked.recompute), compute)
        self.supernet = compute.place(Supernet(space, 1000))
        self.conflict: ConflictPolicy
        if asked.method == "nasvit":
            self.conflict = Project([name for name, _ in self.supernet.named_parameters()])
            self.optimizer: torch.optim.Optimizer = torch.optim.AdamW(self.supernet.parameters(), lr=1e-4, fused=True)
        else:
            self.conflict = Sum()
            self.optimizer = torch.optim.SGD(
                self.supernet.parameters(), lr=1e-3, momentum=0.9, nesterov=True, fused=True
            )
        self.distill = AdaptiveAlphaDivergence()

    def step(self, subnets: list[Architecture], images: Tensor, labels: Tensor) -> None:
        """Run one step."""
        with self.execution.numbers():
            train_on(
                self.supernet, self.optimizer, images, labels, subnets, self.conflict, self.distill, self.execution
            )


class Released:
    """The released supernet and its step."""

    def __init__(self, asked: Asked, space: Space, compute: Compute) -> None:
        torch.manual_seed(0)
        self.asked = asked
        self.execution = Execution(Running(precision=asked.precision), compute)
        sys.path.insert(0, str(asked.checkout.resolve()))
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            models = importlib.import_module("models.attentive_nas_dynamic_model")
            network: nn.Module = models.AttentiveNasDynamicModel(config_of(space), 1000)
        self.network = network.to(compute.device).train()
        parameters = self.network.parameters()
        if asked.method == "nasvit":
            constraint = importlib.import_module("misc.constrain_opt").Constraint
            self.optimizer: Any = constraint(parameters, torch.optim.AdamW, lr=1e-4)
            self.optimizer.proj_student = False  # what its training switches to: the projection
        else:
            self.optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, nesterov=True)
        self.distill = AdaptiveAlphaDivergence()

    def step(self, subnets: list[Architecture], images: Tensor, labels: Tensor) -> None:
        """Run one step."""
        largest, *others = subnets
        self.optimizer.zero_grad()
        with self.execution.numbers():
            logits = self._logits(largest, images)
            F.cross_entropy(logits.float(), labels).backward()
            targets = logits.detach().clone().float()
            if self.asked.method == "nasvit":
                self.optimizer.first_step(zero_grad=True)
            for subnet in others:
                self.distill(self._logits(subnet, images).float(), targets).backward()  # type: ignore[no-untyped-call]
        if self.asked.method == "nasvit":
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.second_step(zero_grad=True)
        else:
            torch.nn.utils.clip_grad_value_(self.network.parameters(), 1.0)
            self.optimizer.step()

    def _logits(self, subnet: Architecture, images: Tensor) -> Tensor:
        setting: Any = self.network
        setting.set_active_subnet(
            subnet.resolution, list(subnet.width), list(subnet.depth), list(subnet.kernel_size), _ratios(subnet)
        )
        with self.execution.autocast():
            found = self.network(images)
        return found[0] if isinstance(found, tuple) else found  # type: ignore[no-any-return]


def _ratios(subnet: Architecture) -> list[int]:
    return [int(each) for each in subnet.expand_ratio if each is not None]


def config_of(space: Space) -> SimpleNamespace:
    """Return a space as the released code wants it."""
    config = SimpleNamespace(use_v3_head=True, resolutions=list(space.resolution))
    config.first_conv = SimpleNamespace(c=list(space.stem.width), act_func=space.activation, s=space.stem.stride)
    for number, stage in enumerate(space.stages, 1):
        values = {"c": stage.width, "d": stage.depth, "k": stage.kernel_size, "t": stage.expand_ratio}
        each = SimpleNamespace(**{name: [int(value) for value in found] for name, found in values.items()})
        each.s, each.se, each.act_func = stage.stride, stage.squeeze_excite, space.activation
        setattr(config, f"mb{number}", each)
    config.last_conv = SimpleNamespace(c=list(space.head.width), act_func=space.activation)
    return config


class Bench:
    """One side with its subnets and images, in a process of its own.

    Args:
        asked: what is measured.
        side: which side.
    """

    def __init__(self, asked: Asked, side: Side) -> None:
        torch.set_num_threads(asked.threads)
        self.asked, self.compute = asked, Compute(find_device(asked.device))
        self.space = search_spaces.load(SPACES[asked.method])
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(asked.batch_size, 3, asked.most, asked.most, generator=generator)
        labels = torch.randint(1000, (asked.batch_size,), generator=generator)
        self.images, self.labels = self.compute.put(images), self.compute.put(labels)
        self.side = (Ours if side == "ours" else Released)(asked, self.space, self.compute)
        sampler, rng = Sandwich(self.space), np.random.default_rng(0)
        self.subnets = [self._bounded([each.subnet for each in sampler(rng)]) for _ in range(asked.steps + 2)]
        self.before = peak_megabytes(self.compute)

    def _bounded(self, subnets: list[Architecture]) -> list[Architecture]:
        return [replace(each, resolution=min(each.resolution, self.asked.most)) for each in subnets]

    def run(self, number: int) -> dict[str, float]:
        """Run one step; return its seconds, of this thread and by the clock, and the megabytes of all steps so far."""
        thread, wall = time.thread_time(), time.perf_counter()
        self.side.step(self.subnets[number], self.images, self.labels)
        if not self.compute.on_processor:
            torch.accelerator.synchronize(self.compute.device)
        taken = time.perf_counter() - wall
        counted = time.thread_time() - thread if self.compute.on_processor else taken
        return {"counted": counted, "clock": taken, "megabytes": peak_megabytes(self.compute) - self.before}

    def costliest(self) -> dict[str, float]:
        """Return the costliest operations of the last step, with their share of its time."""
        processor = self.compute.on_processor
        activity = torch.profiler.ProfilerActivity
        with torch.profiler.profile(activities=[activity.CPU if processor else activity.CUDA]) as profile:
            self.run(self.asked.steps + 1)
        field = "self_cpu_time_total" if processor else "self_device_time_total"
        rows = {each.key: float(getattr(each, field)) for each in profile.key_averages()}
        whole = sum(rows.values())
        first = sorted(rows, key=lambda name: -rows[name])[: self.asked.costliest]
        return {name: round(rows[name] / whole, 3) for name in first}


def _serve(asked: Asked, side: Side, channel: Connection) -> None:
    """Run the steps that are asked for, until there are no more."""
    bench = Bench(asked, side)
    channel.send("ready")
    while (wanted := channel.recv()) is not None:
        channel.send(bench.costliest() if wanted == "costs" else bench.run(wanted))


class Process:
    """A side in a process of its own."""

    def __init__(self, asked: Asked, side: Side) -> None:
        context = multiprocessing.get_context("spawn")
        self.channel, there = context.Pipe()
        self.process = context.Process(target=_serve, args=(asked, side, there), daemon=True)
        self.process.start()
        self.channel.recv()

    def ask(self, wanted: int | str) -> Any:
        """Return what the process answers."""
        self.channel.send(wanted)
        return self.channel.recv()

    def end(self) -> None:
        """End the process."""
        self.channel.send(None)
        self.process.join()


def measure(asked: Asked) -> dict[str, Any]:
    """Return times and memory of both sides, their steps alternating, and our costliest operations."""
    sides: dict[Side, Process] = {name: Process(asked, name) for name in ("ours", "released")}
    found: dict[Side, list[dict[str, float]]] = {name: [] for name in sides}
    for number in range(asked.steps + 2):
        for name in list(sides) if number % 2 == 0 else list(reversed(sides)):
            for _ in range(1 if asked.device == "cpu" else 2):
                run = sides[name].ask(number)
            if number >= 2:  # the first steps build caches
                found[name].append(run)
    costs = sides["ours"].ask("costs")
    for each in sides.values():
        each.end()
    ratios = [one["counted"] / other["counted"] for one, other in zip(found["released"], found["ours"], strict=True)]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(each, 2) for each in sorted(ratios)],
        "milliseconds": {name: _median(rows, "counted") for name, rows in found.items()},
        "milliseconds_by_the_clock": {name: _median(rows, "clock") for name, rows in found.items()},
        "memory_mb": {name: round(max(row["megabytes"] for row in rows)) for name, rows in found.items()},
        "costliest": costs,
    }


def _median(rows: list[dict[str, float]], what: str) -> float:
    return round(1e3 * statistics.median(row[what] for row in rows), 1)


def main(asked: Asked) -> None:
    """Measure and print."""
    found = measure(asked)
    for name, milliseconds in found["milliseconds"].items():
        print(f"{name:8} {milliseconds:9.1f} ms a step, {found['memory_mb'][name]} MB more than before the first")
    print(f"released / ours: {found['ratio']:.2f}, medians of {asked.steps} alternating steps: {found['ratios']}")
    print("\n".join(f"{100 * share:5.1f} % {name}" for name, share in found["costliest"].items()))
    if asked.json is not None:
        settings = {name: each for name, each in asdict(asked).items() if name not in ("json", "checkout")}
        row = settings | found | {"where": str(Compute(find_device(asked.device))), "versions": versions()}
        write_json(
            asked.json, {"command": "python -m experiments.benchmarks.released", "rows": [*rows_in(asked.json), row]}
        )


if __name__ == "__main__":
    main(tyro.cli(Asked))
