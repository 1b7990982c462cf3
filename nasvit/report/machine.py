"""What there is to compute with: the system, the processor, memory, devices, packages, disks."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from nasvit.compute import Compute, capability, device_name, devices, main_memory, memory_limit
from nasvit.export.timing import instructions, processor
from nasvit.files.records import versions
from nasvit.files.whole import cache_folder
from nasvit.training.execution import resolve

Facts = dict[str, Any]

_FOR_DEVELOPERS = "test"
_NAME, _EXTRA = re.compile(r"[\w.-]+"), re.compile(r"""extra\s*==\s*["']([\w.-]+)["']""")


def all_versions() -> dict[str, str]:
    """Return the versions of Python, of nasvit, and of every package that it needs."""
    return versions() | {name: _version(name) for name, extra in _requirements() if extra is None}


def system() -> Facts:
    """Return the operating system and the processor, its cores, and how many of them are used."""
    name, _ = processor()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    given = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ}
    return {
        "system": platform.platform(),
        "processor": name,
        "instructions": list(instructions()),
        "cuda": torch.version.cuda or torch.version.hip,
        "pytorch_uses": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "threads": torch.get_num_threads(),
        "environment": given,
    }


def memory(groups: Path = Path("/sys/fs/cgroup")) -> Facts:
    """Return the bytes of main memory, those that are free, and the limit of a container; None: nobody says.

    Args:
        groups: folder of Linux's control groups.
    """
    whole = main_memory()
    limit = memory_limit(groups)
    is_limit = limit is not None and (whole is None or limit < whole)  # without one a huge number may stand there
    return {"whole": whole, "free": Compute().free_memory(), "limit": limit if is_limit else None}


def all_devices() -> list[Facts]:
    """Return each device: its name, its memory in bytes, and the number format that ``auto`` means there."""
    return [safely(partial(_of_device, device)) | {"device": str(device)} for device in devices()]


def _of_device(device: torch.device) -> Facts:
    compute = Compute(device)
    return {
        "name": device_name(device),
        "memory": compute.whole_memory(),
        "free": compute.free_memory(),
        "capability": capability(device),
        "auto": resolve("auto", device),
    }


def extras() -> dict[str, list[str]]:
    """Return the optional parts of nasvit, each with the packages that it lacks; nothing where no metadata is."""
    found: dict[str, list[str]] = {}
    for name, extra in _requirements():
        if extra not in (None, _FOR_DEVELOPERS):
            lacks = found.setdefault(str(extra), [])
            lacks += [name] if _version(name) == _NONE else []
    return found


_NONE = "not installed"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return _NONE


def _requirements() -> Iterator[tuple[str, str | None]]:
    """Yield the packages that nasvit says it needs, each with the optional part that needs it."""
    try:
        said = metadata.requires("nasvit") or []
    except metadata.PackageNotFoundError:  # imported from a folder, without an installation
        return
    for line in said:
        name, extra = _NAME.match(line), _EXTRA.search(line)
        if name is not None:
            yield name[0], None if extra is None else extra[1]


def caches() -> list[Facts]:
    """Return the folders that things are kept in between runs, with their bytes; None: there is no such folder."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return [
        {"of": of, "folder": str(folder), "size": size_of(folder) if folder.is_dir() else None}
        for of, folder in {
            "nasvit": cache_folder(),
            "Hugging Face": Path(HF_HUB_CACHE),
            "torch": Path(torch.hub.get_dir()),
        }.items()
    ]


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder, links not followed."""
    total = 0
    for path, _, names in os.walk(folder, onerror=None):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_size
    return total


def free_disk(folder: Path = Path()) -> int:
    """Return the bytes that are free where a folder is."""
    return shutil.disk_usage(folder).free


def safely(look: Callable[[], Facts]) -> Facts:
    """Return facts, or what went wrong when they were looked for: what is broken is what a report is written about."""
    try:
        return look()
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        return {"problem": f"{type(error).__name__}: {said or 'without words'}"}
