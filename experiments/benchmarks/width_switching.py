"""What changing the width costs: a switchable model beside networks that have one width only.

    python -m experiments.benchmarks.width_switching --json experiments/results/width_switching.json

Every call of the switchable model changes the width. Beside each, the same width runs as an exported network of its
own, on the same images, before or after it by turns; the medians of processor time are compared. Memory is that of all
tensors.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from torch import Tensor, nn

from nasvit.export.switchable import SwitchableModel, deploy
from nasvit.files.records import versions
from nasvit.models.catalog import mobilenet_v1, mobilenet_v2, resnet, shufflenet_v2
from nasvit.models.family import Family
from nasvit.supernets.slimmable import SlimmableNetwork

COMMAND = "python -m experiments.benchmarks.width_switching --json experiments/results/width_switching.json"
FAMILIES: dict[str, tuple[Callable[[], Family], tuple[float, ...]]] = {
    "mobilenet_v1": (mobilenet_v1, (0.25, 0.5, 0.75, 1.0)),
    "mobilenet_v2": (mobilenet_v2, (0.35, 0.5, 0.75, 1.0)),
    "resnet50": (resnet, (0.25, 0.5, 0.75, 1.0)),
    "shufflenet_v2": (shufflenet_v2, (0.5, 1.0, 1.5, 2.0)),
}


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Args:
        families: names of network families, each at its published widths.
        side: side of the images, in pixels.
        batch_sizes: images a call; one after the other.
        repeats: timed calls of each width and kind.
        json: file for the result; none if left out.
    """

    families: tuple[Literal["mobilenet_v1", "mobilenet_v2", "resnet50", "shufflenet_v2"], ...] = (
        "mobilenet_v1",
        "mobilenet_v2",
        "shufflenet_v2",
    )
    side: int = 224
    batch_sizes: tuple[int, ...] = (1, 8)
    repeats: int = 9
    json: Path | None = None


def built(name: str) -> SwitchableModel:
    """Return a switchable model of the published widths of a family, with random weights."""
    family, widths = FAMILIES[name]
    return deploy(SlimmableNetwork(family(), widths, 1000))


@torch.inference_mode()
def seconds_beside_alone(model: SwitchableModel, images: Tensor, repeats: int) -> dict[str, tuple[float, float]]:
    """Return the median seconds of each width: in the model, with a change of width before, and as its own network."""
    alone: dict[Any, nn.Module] = {width: model.export(width).eval() for width in model.widths}
    times: dict[Any, tuple[list[float], list[float]]] = {width: ([], []) for width in model.widths}
    for number in range(repeats + 2):
        for width in model.widths:
            calls = [partial(model, images, width=width), partial(alone[width], images)]
            for kind in (0, 1) if number % 2 else (1, 0):
                seconds = _seconds(calls[kind])
                if number >= 2:  # the first calls warm up
                    times[width][kind].append(seconds)
    return {str(width): (statistics.median(a), statistics.median(b)) for width, (a, b) in times.items()}


def _seconds(call: Callable[[], object]) -> float:
    start = time.process_time()  # of one thread; other processes do not count
    call()
    return time.process_time() - start


def tensor_bytes(networks: Iterable[nn.Module]) -> int:
    """Return the bytes of all memory that the tensors of some networks lie in, gradients too, each counted once."""
    storages = {}
    for network in networks:
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        for tensor in (*network.parameters(), *network.buffers(), *gradients):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def measure(name: str, settings: Settings) -> dict[str, Any]:
    """Return the times and the memory of one family."""
    model = built(name)
    milliseconds, ratio = {}, {}
    for size in settings.batch_sizes:
        times = seconds_beside_alone(model, torch.randn(size, 3, settings.side, settings.side), settings.repeats)
        key = f"batch of {size}"
        milliseconds[key] = {
            w: {"switching": round(1e3 * a, 3), "alone": round(1e3 * b, 3)} for w, (a, b) in times.items()
        }
        ratio[key] = {width: round(a / b, 3) for width, (a, b) in times.items()}
    return {"ratio": ratio, "milliseconds": milliseconds, **memory(model)}


def memory(model: SwitchableModel) -> dict[str, Any]:
    """Return the megabytes of a model with all its widths in use, of its largest width alone, and of all apart."""
    exported = {width: tensor_bytes([model.export(width)]) for width in model.widths}
    switchable = tensor_bytes([model, *(model.at(width) for width in model.widths)])
    sizes = {"switchable": switchable, "largest": exported[model.largest], "all apart": sum(exported.values())}
    return {
        "megabytes": {key: round(size / 1e6, 3) for key, size in sizes.items()},
        "memory_ratio": round(switchable / exported[model.largest], 4),
    }


def main(settings: Settings) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = {}
    for name in settings.families:
        results[name] = measure(name, settings)
        for batch, ratios in results[name]["ratio"].items():
            print(f"{name}, {batch}: time with a change of width / alone", ratios, flush=True)
        print(f"{name}: memory / that of the largest width {results[name]['memory_ratio']}", flush=True)
    if settings.json is not None:
        config = {key: value for key, value in asdict(settings).items() if key != "json"}
        content = {"command": COMMAND, "settings": config, "families": results, "versions": versions()}
        settings.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Settings))
