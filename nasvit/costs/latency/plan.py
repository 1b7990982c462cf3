"""The plan of a latency table: modules, device, runtime, noise policy, and the file to write."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import torch

from nasvit.compute import device_name, find_device
from nasvit.costs.latency.correction import FEWEST
from nasvit.costs.latency.exporting import RUNTIMES, PrecisionName, RuntimeName, runtime_versions
from nasvit.costs.latency.measure import Measure, NoisePolicy
from nasvit.costs.latency.runtimes import make_measure, this_device
from nasvit.costs.latency.subjects import Apart, Subject
from nasvit.costs.latency.timed_modules import TimedModule
from nasvit.costs.latency.timing_log import TimingLog
from nasvit.files.records import versions
from search_spaces.ranges import MOST_THREADS, Checked, Classes, Range, Seed
from search_spaces.recipe import BatchSize

_RECORDED = ("runtime", "command", "threads", "batch_size", "classes", "precision")


@dataclass(frozen=True)
class MeasurementSettings(Checked):
    """Device, runtime, number of networks and noise policy of a latency table.

    Args:
        runtime: what runs the networks: torch, onnxruntime (needs the export extra), openvino (the openvino extra),
            executorch (the edge extra) or litert (the litert extra).
        threads: threads of one operation; where a command measures, only a note.
        batch_size: images of one call.
        classes: classes of the classifier; of an experiment, those of its images.
        command: measures an exported file instead of this process: a program to run, in which {model} becomes the path
            of the file (.pt2, .onnx, .xml, .pte, .tflite) and {shape} the shape of its input (1x3x32x32); the
            last line it prints must be the milliseconds of one call.
        device: device that torch runs the modules on, as it is plugged into this machine: cpu, cuda, cuda:1, mps, xpu,
            or auto, which is an accelerator if there is one. Other runtimes run on cpu, a command wherever it likes.
        name: name of the device, for the record; the accelerator's or processor's own if left out, or the command.
        precision: type of weights and images: for torch in this process also bfloat16 or float16, as accelerators are
            often used; for files of other runtimes also int8.
        networks: whole networks measured; scale and offset are fitted on half of them, the error is that of the others.
        seed: seed of the draw of networks.
        policy: rounds, repeats and tolerance of noise.

    Raises:
        ValueError: if a number is out of its range, or device or precision is for torch in this process and that does
            not run.
    """

    runtime: RuntimeName = "torch"
    threads: Annotated[int, Range(1, MOST_THREADS)] = 1
    batch_size: BatchSize = 1
    classes: Classes = 1000
    command: str | None = None
    device: str = "cpu"
    name: str | None = None
    precision: PrecisionName = "float32"
    networks: Annotated[int, Range(2 * FEWEST, 10_000)] = 40
    seed: Seed = 0
    policy: NoisePolicy = field(default_factory=NoisePolicy)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision == "int8" and not RUNTIMES[self.runtime].quantizes_with:
            legal = ", ".join(name for name, each in RUNTIMES.items() if each.quantizes_with)
            raise ValueError(f"precision is int8, which {self.runtime} has not here; legal: --runtime {legal}")
        if self.command is not None or self.runtime != "torch":
            self._check_device()

    def _check_device(self) -> None:
        """Refuse what only torch in this process can do."""
        runs = "a command measures files of float32 or int8, where it likes"
        if self.command is None:
            runs = f"{self.runtime} runs files of float32 or int8, on cpu"
        if self.device != "cpu":
            hint = "the name of the device in the table is --name"
            raise ValueError(f"device is {self.device!r}, but {runs}; leave --device out ({hint})")
        if self.precision not in ("float32", "int8"):
            raise ValueError(f"precision is {self.precision!r}, but {runs}; leave --precision out")


@dataclass(frozen=True)
class MeasurementPlan:
    """Plan that :func:`build_table` carries out.

    Args:
        subject: what is measured: a search space, or a network that was made elastic.
        settings: device, runtime and noise policy.
        out: the table to write; the timing log and the exported files lie beside it.
        injected: measures one module; None: the runtime or command of the settings does.
    """

    subject: Subject[Any]
    settings: MeasurementSettings
    out: Path
    injected: Measure | None = None

    @cached_property
    def apart(self) -> Apart:
        """What the subnets are put together of."""
        return self.subject.take_apart(self.settings.classes, self.settings.batch_size)

    @cached_property
    def blocks(self) -> list[TimedModule]:
        """Every unique block."""
        return self.apart.blocks

    @cached_property
    def architectures(self) -> list[Any]:
        """The whole networks: smallest, largest, and random ones."""
        return self.subject.choose(self.settings.networks, self.settings.seed)

    @cached_property
    def networks(self) -> list[TimedModule]:
        """The whole networks as modules to time."""
        sizes = (self.settings.classes, self.settings.batch_size)
        return [self.subject.network(architecture, *sizes) for architecture in self.architectures]

    @property
    def folder(self) -> Path:
        """Folder of the exported files of these conditions, which are removed once the table is written."""
        asked = self.settings
        conditions = f"{asked.runtime}-{asked.precision}-{asked.batch_size}-images-{asked.classes}-classes"
        return self.out.with_suffix(".exported") / conditions

    @cached_property
    def device(self) -> torch.device:
        """The device that torch runs the modules on.

        Raises:
            ValueError: if there is no such device; the message names those that there are.
        """
        try:
            return find_device(self.settings.device)
        except ValueError as error:
            raise ValueError(f"{error}; --name is the name of the device in the table") from error

    @cached_property
    def measure(self) -> Measure:
        """The function that measures one module."""
        if self.injected is not None:
            return self.injected
        settings = self.settings
        return make_measure(
            settings.runtime,
            command=settings.command,
            threads=settings.threads,
            folder=self.folder,
            policy=settings.policy,
            yardstick=self.apart.yardstick,
            device=self.device,
            precision=settings.precision,
        )

    @cached_property
    def conditions(self) -> dict[str, Any]:
        """Everything that one measurement depends on; the table says it, and the timing log goes on only under it."""
        settings = self.settings
        own_name = this_device() if self.device.type == "cpu" else device_name(self.device)
        return {
            "space": self.subject.identity,
            "device": settings.name or settings.command or own_name,
            "runs_on": None if settings.command else str(self.device),
            **{name: getattr(settings, name) for name in _RECORDED},
            **{name: getattr(settings.policy, name) for name in ("warm_up", "repeats", "least_ms", "turn_ms")},
            "versions": versions() | runtime_versions(settings.runtime, settings.precision),
        }

    def timing_log(self) -> TimingLog:
        """Open the file that keeps every measurement.

        Raises:
            ValueError: if the file was begun under other conditions.
        """
        return TimingLog(self.out.with_suffix(".journal.jsonl"), self.conditions)

    def discard_exported(self) -> None:
        """Remove the exported files, those of other conditions too."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)
