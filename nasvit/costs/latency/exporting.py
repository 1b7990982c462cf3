"""Blocks and networks as files that other programs run: one format for each runtime."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from nasvit.costs.latency.timed_modules import TimedModule
from nasvit.export.formats import FORMATS, Format

RuntimeName: TypeAlias = Literal["torch", "onnxruntime", "openvino", "executorch", "litert"]
PrecisionName: TypeAlias = Literal["float32", "bfloat16", "float16", "int8"]

RUNTIMES: dict[RuntimeName, Format] = {each.runtime: each for each in FORMATS.values()}  # type: ignore[misc]
"""The format of the files of each runtime."""


def exported(module: TimedModule, folder: Path, runtime: RuntimeName, precision: PrecisionName = "float32") -> Path:
    """Return the path of a module's exported file; a missing file is written first, whole or not at all.

    Args:
        module: the module; its file is for the batch size of its input alone, as devices compile it best.
        folder: folder of the file.
        runtime: what runs it.
        precision: "float32", or "int8" in a runtime that has it: what the integers mean does not matter for their time.
    """
    format = RUNTIMES[runtime]
    path = folder / (re.sub(r"[^A-Za-z0-9.]+", "-", module.name) + Path(format.file).suffix)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"unfinished{path.suffix}")
        network, (batch, *shape) = module.make(), module.shape
        if precision == "int8":
            format.write_int8(network, temporary, tuple(shape), [example(module.shape)], batch)
        else:
            format.write(network, temporary, tuple(shape), batch)
        for file in reversed(format.files(temporary)):  # the one that is looked for comes last
            file.replace(path.with_name(path.stem + file.suffix))
    return path


def example(shape: tuple[int, ...]) -> Tensor:
    """Return a random input of a shape, the same at every call."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def require(runtime: RuntimeName, precision: PrecisionName = "float32") -> None:
    """Refuse a runtime whose packages are not installed.

    Raises:
        ImportError: naming the packages and how to install them.
    """
    try:
        RUNTIMES[runtime].require(writing=True, int8=precision == "int8")
    except ImportError as error:
        raise ImportError(f"--runtime {runtime}: {error}") from error


def runtime_versions(runtime: RuntimeName, precision: PrecisionName = "float32") -> dict[str, str]:
    """Return the versions of the packages of a runtime."""
    return RUNTIMES[runtime].versions(int8=precision == "int8")
