"""Contract of formats that networks are shipped in: write a file, load it in its runtime, run it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nasvit.data.annotated import TaskName
from nasvit.heads.decoded import Decoded

Floats = NDArray[np.floating[Any]]

Run = Callable[[Floats], Floats]
"""Runs a loaded file: pixels from 0 to 1, float32 (batch, channels, height, width), to scores (batch, classes)."""

RunAll = Callable[[Floats], tuple[Floats, ...]]
"""The same with all outputs, of networks that have several: boxes and scores of a detector."""

Start = Callable[[Floats], Sequence[Any]]
"""Runs a started file: to all its outputs, in memory that the next call may write to again."""


BOXES, SCORES = "boxes", "scores"
"""Names of outputs, where a format has names: of a detector both, of every other network scores alone."""


def output_names(network: nn.Module, images: Tensor) -> tuple[str, ...]:
    """Return the names of all that a network returns for some images."""
    if isinstance(network, Decoded):
        return network.names
    with torch.inference_mode():
        outputs = network(images)
    return (SCORES,) if isinstance(outputs, Tensor) else (BOXES, SCORES)


def in_parts(run: Start, batch: int, pixels: Floats) -> Sequence[Any]:
    """Run a file that is for one batch size on any multiple of so many images, part by part; return all its outputs."""
    if len(pixels) == batch:
        return run(pixels)
    parts = [[np.array(each) for each in run(pixels[at : at + batch])] for at in range(0, len(pixels), batch)]
    return [np.concatenate(outputs) for outputs in zip(*parts)]


class Format(ABC):
    """One format, and the runtime that runs it. A new one is a class, named once in :data:`FORMATS`."""

    name: ClassVar[str]
    """Name, as users give it."""

    runtime: ClassVar[str]
    """Name of the runtime."""

    title: ClassVar[str]
    """Name of the runtime as its makers write it."""

    code: ClassVar[str]
    """Python code that loads ``{file}`` and turns the array ``pixels`` into the array ``scores``, for model cards."""

    code_of_boxes: ClassVar[str] = ""
    """The same for a detector: from ``pixels`` to the arrays ``boxes`` and ``scores``."""

    code_of_objects: ClassVar[str] = ""
    """The same with the decoder inside: from ``pixels`` to the arrays ``found``, ``best``, ``classes``."""

    decodes: ClassVar[tuple[TaskName, ...]] = ("segmentation",)
    """Tasks whose decoder files can have inside; the class of every pixel is an operation of all runtimes."""

    file: ClassVar[str]
    """Name of the file, such as ``network.onnx``."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Packages that running needs, besides those of nasvit itself."""

    writes_with: ClassVar[tuple[str, ...]] = ()
    """Packages that writing needs besides."""

    quantizes_with: ClassVar[tuple[str, ...]] = ()
    """Packages that writing 8-bit integers needs besides; none: the format has no integers here."""

    extra: ClassVar[str] = ""
    """Extra of nasvit that installs them all."""

    @abstractmethod
    def write(self, network: nn.Module, path: Path, shape: tuple[int, ...], batch: int | None = None) -> None:
        """Write a network in float32.

        Args:
            network: takes pixels from 0 to 1, in evaluation mode.
            path: the file; what else belongs to it lies beside it, under the same stem.
            shape: shape of one image.
            batch: the one batch size that the file is for; None: any, where the format has that.
        """

    def write_int8(
        self,
        network: nn.Module,
        path: Path,
        shape: tuple[int, ...],
        calibration: Sequence[Tensor],
        batch: int | None = None,
    ) -> None:
        """Write a network whose weights and activations are integers of 8 bits.

        Args:
            network: as in :meth:`write`, and the next ones too.
            path: the file.
            shape: shape of one image.
            calibration: batches of pixels that say what range activations have.
            batch: the one batch size that the file is for.

        Raises:
            ValueError: if the format has none.
        """
        legal = ", ".join(name for name, each in _formats().items() if each.quantizes_with)
        raise ValueError(f"format {self.name} has no 8-bit integers here; legal with --int8: {legal}")

    def tell(self, path: Path, told: Mapping[str, str]) -> None:
        """Write into a file itself what it is, where the format has a place for that.

        Args:
            path: the file, which was written before; what it computes stays as it is.
            told: texts by name.
        """
        return

    def check_decoder(self, task: str) -> None:
        """Refuse to put the decoder of a task's networks into a file whose runtime cannot run it.

        Raises:
            ValueError: naming the formats that can.
        """
        if task not in self.decodes:
            legal = ", ".join(name for name, each in _formats().items() if task in each.decodes)
            told = f"legal for {task}: {legal}" if legal else f"networks for {task} have no decoder"
            raise ValueError(f"format {self.name} cannot have the decoder inside; {told} (--decoder outside: all)")

    def may_start(self, path: Path) -> bool:
        """Return whether a file may be loaded: one that could run what its author put in must be from here."""
        return True

    @abstractmethod
    def start(self, path: Path, threads: int = 1) -> Start:
        """Load a file in its runtime, with nothing between that and the caller, as it is timed.

        Args:
            path: the file.
            threads: threads of one operation.
        """

    def load(self, path: Path, threads: int = 1) -> Run:
        """Load a file in its runtime, and return what gives its scores; arguments as in :meth:`start`."""
        outputs = self.start(path, threads)
        return lambda pixels: np.array(outputs(pixels)[0])

    def load_all(self, path: Path, threads: int = 1) -> RunAll:
        """Load a file in its runtime, and return what gives all its outputs; arguments as in :meth:`start`."""
        outputs = self.start(path, threads)
        return lambda pixels: tuple(np.array(each) for each in outputs(pixels))

    def files(self, path: Path) -> list[Path]:
        """Return the files that were written at a path."""
        return [path]

    def needs(self, *, writing: bool = False, int8: bool = False) -> tuple[str, ...]:
        """Return the packages that running a file needs, or writing one."""
        return self.packages + (self.writes_with if writing else ()) + (self.quantizes_with if writing and int8 else ())

    def require(self, *, writing: bool = False, int8: bool = False) -> None:
        """Refuse a format whose packages are not installed.

        Raises:
            ImportError: naming the package and how to install it.
        """
        for package in self.needs(writing=writing, int8=int8):
            try:
                import_module(package)
            except ImportError as error:
                extra = f"nasvit[{self.extra}]"
                raise ImportError(
                    f"format {self.name} needs {package}, which is not installed: pip install '{extra}' "
                    f"(in a clone: pip install -e '.[{self.extra}]')"
                ) from error

    def versions(self, *, int8: bool = False) -> dict[str, str]:
        """Return the versions of the packages that write a file."""
        return {package: metadata.version(package) for package in self.needs(writing=True, int8=int8)}


def _formats() -> dict[str, Format]:
    from nasvit.export.formats import FORMATS  # which imports this module

    return FORMATS
