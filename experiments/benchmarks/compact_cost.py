"""What training a compact network costs more, and what fusing its branches saves, in one run.

    python -m experiments.benchmarks.compact_cost --json experiments/results/compact_cost.json

A NetAug step (forward and backward of the tiny network and of one augmented network, then the optimizer) is timed
beside a step of the tiny network alone, on the same images, alternating; so is a forward pass before and after fusing.
Multiply-adds are counted exactly. Times are medians and depend on the machine; their ratios hardly do.
"""

from __future__ import annotations

import copy
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional as F

from nasvit.branches import fuse, reparameterize
from nasvit.costs.counting import count
from nasvit.files.records import versions, write_json
from nasvit.registry import augmentable, create, spec_of
from nasvit.specs import GhostNetSpec
from nasvit.supernets.augment import Augmented, augment

CLASSES = 10


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Args:
        targets: tiny networks that NetAug augments.
        branched: networks that are timed before and after fusing.
        side: of the images, in pixels.
        batch_size: images a training step.
        repeats: timed steps and forward passes of each kind.
        draws: augmented networks that the mean of multiply-adds is taken over.
        threads: processor threads.
        json: file for the result; none if left out.
    """

    targets: tuple[str, ...] = ("experiments/compact/tiny32.yaml", "tinymbv2")
    branched: tuple[str, ...] = ("mbv2-0.1", "experiments/compact/ghost32.yaml")
    side: int = 32
    batch_size: int = 32
    repeats: int = 9
    draws: int = 40
    threads: int = 1
    json: Path | None = None


def medians(works: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Return the median seconds of each piece of work, the pieces alternating, after one round of warm-up."""
    times: list[list[float]] = [[] for _ in works]
    for turn in range(repeats + 1):
        for work, seconds in zip(works, times, strict=True):
            started = time.perf_counter()
            work()
            if turn:
                seconds.append(time.perf_counter() - started)
    return [statistics.median(each) for each in times]


def netaug_cost(name: str, settings: Settings) -> dict[str, Any]:
    """Compare steps with augmented networks, in both phases, with steps of the tiny network alone."""
    network = augment(augmentable(spec_of(name)), classes=CLASSES)
    alone = network.extract().train()
    images, labels = _batch(settings)
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.01, momentum=0.9, fused=True) for each in (alone, network)]
    generator = torch.Generator().manual_seed(0)

    def base() -> None:
        optimizers[0].zero_grad()
        _backward(alone, images, labels)
        optimizers[0].step()

    def augmented(widths: bool) -> Callable[[], None]:
        def step() -> None:
            network.zero_grad()
            _backward(network.at(network.base), images, labels)  # type: ignore[arg-type]
            _backward(network.at(network.sample(generator, widths=widths)), images, labels)  # type: ignore[arg-type]
            optimizers[1].step()

        return step

    seconds = medians([base, augmented(True), augmented(False)], settings.repeats)
    own = _macs(network, network.base, settings.side)
    shares = [_mean_macs(network, widths, settings) / own for widths in (True, False)]
    return {
        "network": name,
        "macs": own,
        "params": sum(parameter.numel() for parameter in alone.parameters()),
        "training_params": sum(parameter.numel() for parameter in network.parameters()),
        "step_macs_ratio": {"widths": round(1 + shares[0], 2), "expand_only": round(1 + shares[1], 2)},
        "step_time_ratio": {
            "widths": round(seconds[1] / seconds[0], 2),
            "expand_only": round(seconds[2] / seconds[0], 2),
        },
        "step_seconds": [round(each, 5) for each in seconds],
    }


def branched_network(name: str) -> nn.Module:
    """Return a network with three branches at every convolution that allows it."""
    spec = spec_of(name)
    if isinstance(spec, GhostNetSpec):
        return spec.branched(3, scale=True, identity=True).build(CLASSES)
    return reparameterize(create(name, CLASSES).network, 3)


def fusing_gain(name: str, settings: Settings) -> dict[str, Any]:
    """Compare forward passes of one image before and after fusing."""
    branched = branched_network(name)
    images, _ = _batch(settings)
    branched(images)  # statistics
    branched.eval()
    fused = fuse(branched)
    one = images[:1]
    with torch.inference_mode():
        seconds = medians([lambda: branched(one), lambda: fused(one)], 5 * settings.repeats)
        exact = copy.deepcopy(branched).double()
        difference = (exact(images.double()) - fuse(exact)(images.double())).abs().max()
    costs = [count(each, 3, settings.side, settings.side) for each in (branched, fused)]
    return {
        "network": name,
        "macs": [cost.macs for cost in costs],
        "params": [cost.params for cost in costs],
        "latency_seconds": [round(each, 6) for each in seconds],
        "latency_ratio": round(seconds[0] / seconds[1], 2),
        "largest_difference": float(difference),
    }


def _batch(settings: Settings) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(settings.batch_size, 3, settings.side, settings.side, generator=generator)
    labels = torch.randint(CLASSES, (settings.batch_size,), generator=generator)
    return images.contiguous(memory_format=torch.channels_last), labels


def _backward(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    F.cross_entropy(network.train()(images), labels).backward()  # type: ignore[no-untyped-call]


def _macs(network: Augmented, plan: Any, side: int) -> int:
    return count(network.at(plan), 3, side, side).macs


def _mean_macs(network: Augmented, widths: bool, settings: Settings) -> float:
    generator = torch.Generator().manual_seed(1)
    plans = [network.sample(generator, widths=widths) for _ in range(settings.draws)]
    return statistics.mean(_macs(network, plan, settings.side) for plan in plans)


def main(settings: Settings) -> None:
    """Measure everything and print it."""
    torch.set_num_threads(settings.threads)
    rows = {
        "netaug": [netaug_cost(name, settings) for name in settings.targets],
        "fusing": [fusing_gain(name, settings) for name in settings.branched],
    }
    print(json.dumps(rows, indent=1))
    if settings.json is not None:
        config = {key: value for key, value in asdict(settings).items() if key != "json"}
        command = "python -m experiments.benchmarks.compact_cost"
        write_json(settings.json, {"command": command, "config": config, **rows, "versions": versions()})


if __name__ == "__main__":
    main(tyro.cli(Settings))
