"""Steps of several processes beside steps of one with the same joined batch, alternating in one run.

    torchrun --standalone --nproc-per-node 2 -m experiments.benchmarks.processes --json FILE

The first process takes a step with the whole batch, while the others sleep; then all take the same step together, each
with its part. Both train a supernet of their own, from the same weights, with the same subnets, through the same steps,
so that the weights can be compared at the end. Every process has one thread. The fastest step and the processor time of
the first process are given too: on a machine that others use at the same time they say more than the median.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor
from torch.nn import functional as F

import search_spaces
from nasvit.compute import Compute, open_compute
from nasvit.files.records import versions, write_json
from nasvit.layers import sync_batch_norm
from nasvit.supernets.supernet import Supernet
from nasvit.tasks.distillation import AdaptiveAlphaDivergence
from nasvit.training.conflict import Project
from nasvit.training.execution import PLAIN, Execution
from nasvit.training.sampling import Member, Sandwich
from nasvit.training.step import shared_step

WARM_UP = 2  # steps that build caches


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Args:
        space: search space.
        batch_size: images of the joined batch.
        steps: timed steps of each kind.
        json: file for the result; none if left out.
    """

    space: str = "micro32"
    batch_size: int = 256
    steps: int = 12
    json: Path | None = None


class Training:
    """A supernet that trains on one batch, alone or with other processes.

    Args:
        settings: space and batch.
        compute: the processes that share the batch.
    """

    def __init__(self, settings: Settings, compute: Compute) -> None:
        torch.manual_seed(0)
        self.space, self.execution = search_spaces.load(settings.space), Execution(PLAIN, compute)
        self.supernet = Supernet(self.space, 10)
        side = max(self.space.resolution)
        images = torch.randn(settings.batch_size, self.space.image_channels, side, side)
        mine = torch.from_numpy(compute.part_of(settings.batch_size))
        self.images = images[mine].contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(10, (settings.batch_size,))[mine]
        self.distill = AdaptiveAlphaDivergence()
        self.optimizer = torch.optim.SGD(self.supernet.parameters(), lr=1e-2, momentum=0.9, fused=True)
        self.conflict = Project([name for name, _ in self.supernet.named_parameters()])

    def step(self, members: list[Member]) -> None:
        """Take one step with these subnets."""
        self.supernet.zero_grad()
        shared_step(
            self.supernet,
            self.images,
            self.labels,
            members=members,
            criterion=F.cross_entropy,  # type: ignore[arg-type]
            distill=self.distill,
            conflict=self.conflict,
            prepare=lambda subnet, _: sync_batch_norm(subnet, self.execution.compute),
            execution=self.execution,
        )
        self.optimizer.step()


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds that passed, and those that the processor worked for this process."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def measure(settings: Settings, compute: Compute) -> dict[str, Any]:
    """Return the medians of both kinds of steps, and the difference of the weights after them."""
    alone, together = Training(settings, compute.alone()), Training(settings, compute)
    sampler, rng = Sandwich(alone.space), np.random.default_rng(0)
    times: dict[str, list[tuple[float, float]]] = {"one": [], "several": []}
    for _ in range(settings.steps + WARM_UP):
        members = sampler(rng)
        if compute.is_first:
            times["one"].append(timed(partial(alone.step, members)))
        compute.wait()
        times["several"].append(timed(partial(together.step, members)))
        compute.wait()
    found: dict[str, Any] = {"milliseconds": {}, "fastest_milliseconds": {}, "processor_milliseconds": {}}
    for kind, pairs in times.items() if compute.is_first else ():
        wall, processor = zip(*pairs[WARM_UP:], strict=True)
        found["milliseconds"][kind] = round(1e3 * statistics.median(wall), 1)
        found["fastest_milliseconds"][kind] = round(1e3 * min(wall), 1)
        found["processor_milliseconds"][kind] = round(1e3 * statistics.median(processor), 1)
    return found | {"relative_difference_of_weights": difference(together.supernet, alone.supernet)}


@torch.no_grad()
def difference(one: Supernet, other: Supernet) -> float:
    """Return the norm of the difference of two sets of weights, as a share of the second's norm."""

    def joined(network: Supernet) -> Tensor:
        return torch.cat([parameter.flatten() for parameter in network.parameters()])

    return float((joined(one) - joined(other)).norm() / joined(other).norm())


def main(settings: Settings) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    with open_compute("cpu") as compute:
        found = measure(settings, compute)
    if not compute.is_first:
        return
    for kind in ("milliseconds", "fastest_milliseconds", "processor_milliseconds"):
        found[kind.replace("milliseconds", "ratio")] = round(found[kind]["one"] / found[kind]["several"], 3)
    print(json.dumps(found, indent=1))
    if settings.json is not None:
        config = {name: value for name, value in asdict(settings).items() if name != "json"}
        content = {**found, "settings": {**config, "processes": compute.count, "threads": 1}, "versions": versions()}
        write_json(settings.json, content)


if __name__ == "__main__":
    main(tyro.cli(Settings))
