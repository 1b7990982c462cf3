"""``nasvit doctor``: what a report of a bug should say of a machine, as text to paste or as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

from nasvit.compute import Compute, find_device
from nasvit.report.machine import (
    Facts,
    all_devices,
    all_versions,
    caches,
    extras,
    free_disk,
    memory,
    safely,
    system,
)
from nasvit.training.execution import exact_products, resolve

_SPACE, _SIDE, _CLASSES, _BATCH = "micro32:largest", 32, 10, 64
_PRODUCT = {"cpu": 1024}
"""Rows of the matrices that are multiplied; elsewhere :data:`_LARGE`, so that the device has something to do."""
_LARGE = 4096
_SECONDS = 0.4  # that products are repeated for


def show_doctor(*, as_json: bool = False, benchmark: bool = True, device: str = "auto") -> None:
    """Print what there is to compute with, and how fast it is.

    Args:
        as_json: print JSON instead of text.
        benchmark: time a step of a training and a product of matrices, for about two seconds.
        device: the device that is timed.

    Raises:
        ValueError: if there is no such device.
    """
    facts = look(Compute(find_device(device)) if benchmark else None)
    print(json.dumps(facts, indent=1) if as_json else "\n".join(lines(facts)))


def look(timed: Compute | None) -> Facts:
    """Return all that is known of this machine.

    Args:
        timed: the device that is timed; None: nothing is.
    """
    facts: Facts = {
        "versions": all_versions(),
        "machine": safely(system),
        "memory": safely(memory),
        "devices": all_devices(),
        "extras": extras(),
        "caches": safely(lambda: {"folders": caches(), "free": free_disk()}),
    }
    return facts if timed is None else facts | {"benchmark": safely(lambda: _benchmark(timed))}


def _benchmark(compute: Compute) -> Facts:
    return {"device": str(compute), "training": safely(lambda: _step(compute)), "product": _products(compute)}


def _step(compute: Compute) -> Facts:
    """Return how many images a second a training of a network of the catalog sees, made-up ones."""
    from nasvit.data.config import DataConfig
    from nasvit.experiment.fitting import Fitting, Start
    from nasvit.experiment.made_up import Counted, MadeUpImages
    from nasvit.experiment.training import Training
    from nasvit.experiment.trial import try_training
    from nasvit.registry import create
    from search_spaces import Recipe

    spec = create(_SPACE, _CLASSES).card.spec
    classes = tuple(map(str, range(_CLASSES)))
    counted = Counted("", 10 * _BATCH, _BATCH, _BATCH, classes, 3, (_SIDE, _SIDE))
    images = MadeUpImages(counted, DataConfig("digits"), seed=0, compute=compute, head=None)
    recipe = Recipe(optimizer="adamw", learning_rate=1e-3, epochs=1, batch_size=_BATCH)
    with TemporaryDirectory() as folder:
        trainer = Fitting(Start(spec), Training(recipe=recipe), images, seed=0, name="").trainer(Path(folder), every=0)
        trial = try_training(_SPACE, trainer)
    precision = resolve("auto", compute.device)
    return {"network": _SPACE, "batch": _BATCH, "precision": precision, "images_per_second": _BATCH / trial.seconds}


def _products(compute: Compute) -> list[Facts]:
    formats = dict.fromkeys(["float32", resolve("auto", compute.device)])
    return [safely(partial(_product, compute, name)) | {"format": name} for name in formats]


def _product(compute: Compute, name: str) -> Facts:
    """Return how many billion operations a second a product of two square matrices has."""
    side = _PRODUCT.get(compute.device.type, _LARGE)
    left, right = (torch.randn(side, side, device=compute.device, dtype=getattr(torch, name)) for _ in range(2))
    with exact_products():
        seconds = _seconds(lambda: compute.host((left @ right)[0, 0]))
    return {"rows": side, "gigaflops": 2 * side**3 / seconds / 1e9}


def _seconds(work: Callable[[], object]) -> float:
    """Return what a call usually takes; the first one, which also prepares, does not count."""
    work()
    taken: list[float] = []
    while sum(taken) < _SECONDS:
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return median(taken)


def lines(facts: Facts) -> list[str]:
    """Return facts as text that can be pasted: no colors, no tables, the home as ``~``."""
    told = [
        *_section("versions", ", ".join(f"{name} {version}" for name, version in facts["versions"].items())),
        *_told(facts["machine"], _machine),
        *_told(facts["memory"], lambda found: _section("memory", _memory(found))),
        *(line for each in facts["devices"] for line in _told(each, _device)),
        *_extras(facts["extras"]),
        *_told(facts["caches"], _caches),
    ]
    return told + (_told(facts["benchmark"], _timed) if "benchmark" in facts else [])


def _section(name: str, text: str) -> list[str]:
    return [f"{name}: {text}"]


def _told(facts: Facts, tell: Callable[[Facts], list[str]]) -> list[str]:
    """Return facts as text, or what went wrong when they were looked for."""
    if "problem" not in facts:
        return tell(facts)
    where = facts.get("device") or facts.get("format") or "looking"
    return _section("PROBLEM", f"{where}: {facts['problem']}")


def _machine(found: Facts) -> list[str]:
    sets = ", ".join(found["instructions"]) or "none known"
    given = "".join(f", {name}={value}" for name, value in found["environment"].items())
    cores = f"{found['cores']} cores, {found['usable_cores']} of them usable, {found['threads']} threads in use{given}"
    return [
        *_section("system", found["system"]),
        *_section("processor", f"{found['processor']} ({cores})"),
        *_section("instructions", f"{sets}; PyTorch uses {found['pytorch_uses']}"),
        *_section(
            "PyTorch was built for", "processors alone" if found["cuda"] is None else f"CUDA or HIP {found['cuda']}"
        ),
    ]


def _memory(found: Facts) -> str:
    limit = "no limit of a container" if found["limit"] is None else f"a container's limit of {_size(found['limit'])}"
    return f"{_size(found['whole'])}, {_size(found['free'])} free, {limit}"


def _device(found: Facts) -> list[str]:
    able = f", compute capability {found['capability']}" if found["capability"] else ""
    size = f"{_size(found['memory'])}, {_size(found['free'])} free"
    return _section(f"device {found['device']}", f"{found['name']}, {size}{able}; precision auto is {found['auto']}")


def _extras(found: dict[str, list[str]]) -> list[str]:
    whole = [name for name, lacks in found.items() if not lacks]
    told = _section("optional parts", f"{', '.join(whole) or 'none'} installed")
    return told + [
        f"    not installed: {name}, which lacks {', '.join(lacks)}: pip install 'nasvit[{name}]'"
        for name, lacks in found.items()
        if lacks
    ]


def _caches(found: Facts) -> list[str]:
    kept = [f"{each['of']} {_short(each['folder'])} ({_size(each['size'], 'empty')})" for each in found["folders"]]
    return _section("kept files", f"{'; '.join(kept)}; {_size(found['free'])} of this disk are free")


def _timed(found: Facts) -> list[str]:
    return [
        *_section("benchmark", found["device"]),
        *(f"    {line}" for line in _told(found["training"], _training)),
        *(f"    {line}" for each in found["product"] for line in _told(each, _multiplied)),
    ]


def _training(found: Facts) -> list[str]:
    what = f"training {found['network']} in batches of {found['batch']}, {found['precision']}"
    return _section(what, f"{found['images_per_second']:,.3g} images a second")


def _multiplied(found: Facts) -> list[str]:
    what = f"product of two matrices of {found['rows']:,} rows, {found['format']}"
    return _section(what, f"{found['gigaflops']:,.3g} billion operations a second")


def _size(count: int | None, without: str = "unknown") -> str:
    if count is None:
        return without
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _short(folder: str) -> str:
    """Return a path without the user's name in it."""
    home = str(Path.home())
    return f"~{folder.removeprefix(home)}" if folder.startswith(home) else folder
