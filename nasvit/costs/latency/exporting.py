"""Blocks and networks as files that other programs run: ``torch.export`` programs or ONNX."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from nasvit.costs.latency.timed_modules import TimedModule
from nasvit.export.saved import export_program

RuntimeName: TypeAlias = Literal["torch", "onnxruntime"]

PACKAGES: dict[str, tuple[str, ...]] = {"torch": ("torch",), "onnxruntime": ("onnxruntime", "onnx", "onnxscript")}
"""Packages that each runtime needs; the first one runs the file, the others export it."""


def exported(module: TimedModule, folder: Path, runtime: RuntimeName) -> Path:
    """Return the path of a module's exported file; a missing file is written first, whole or not at all."""
    suffix = ".pt2" if runtime == "torch" else ".onnx"
    path = folder / (re.sub(r"[^A-Za-z0-9.]+", "-", module.name) + suffix)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"unfinished{suffix}")
        export = _export_as_it_is if runtime == "torch" and module.stride is not None else _EXPORTERS[runtime]
        export(module.make(), module.shape, temporary)
        temporary.replace(path)
    return path


def _export_program(module: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    export_program(module, path, shape=shape[1:])


def _export_as_it_is(module: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """Write a program for this batch size alone, which code that is not ours may have worked into its sizes."""
    torch.export.save(torch.export.export(module, (example(shape),), strict=False), path)


def _export_onnx(module: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """Write one file with its weights inside, for this batch size alone, as devices compile it best."""
    torch.onnx.export(module, (example(shape),), path, dynamo=True, external_data=False, verbose=False)


_EXPORTERS: dict[str, Callable[[nn.Module, tuple[int, ...], Path], None]] = {
    "torch": _export_program,
    "onnxruntime": _export_onnx,
}


def example(shape: tuple[int, ...]) -> Tensor:
    """Return a random input of a shape, the same at every call."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def require(runtime: RuntimeName) -> None:
    """Refuse a runtime whose packages are not installed.

    Raises:
        ImportError: naming the packages and how to install them.
    """
    for package in PACKAGES[runtime]:
        try:
            import_module(package)
        except ImportError as error:
            raise ImportError(
                f"--runtime {runtime} needs {package}, which is not installed: pip install 'nasvit[export]' "
                "(in a clone: pip install -e '.[export]')"
            ) from error


def runtime_versions(runtime: RuntimeName) -> dict[str, str]:
    """Return the versions of the packages of a runtime."""
    return {package: metadata.version(package) for package in PACKAGES[runtime]}
