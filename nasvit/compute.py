"""The one place that knows the device and the processes: a value that is handed down to whatever computes."""

from __future__ import annotations

import datetime
import os
import pickle
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed, nn

from nasvit import allocator

T = TypeVar("T")
N = TypeVar("N", bound=nn.Module)

CPU = torch.device("cpu")
_BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl", "xpu": "cpu:gloo,xpu:xccl"}
_CHANNELS_LAST = ("cuda", "xpu")
_WITH_STREAMS = ("cuda", "xpu")
_LATE_STEPS = 16
_NO_LIMIT = datetime.timedelta(days=365)


class StoppedElsewhere(RuntimeError):
    """Another of several processes failed, so that this one cannot go on; the message is that process's."""


@dataclass(frozen=True)
class Compute:
    """The device of this process, and the processes that share its work.

    Everything that runs networks gets one of these and asks nothing else. ``alone()`` is the same device without the
    other processes, for work that each process does by itself, such as a trial of a search.

    Args:
        device: device of networks and batches.
        rank: number of this process, from 0.
        count: number of processes that share the work.
        control: group of these processes in which waiting has no time limit; None for one process.
        shows: whether this process shows how far it is.
    """

    device: torch.device = CPU
    rank: int = 0
    count: int = 1
    control: Any = field(default=None, compare=False, repr=False)
    shows: bool = field(default=True, compare=False)

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    @property
    def on_processor(self) -> bool:
        """Whether networks run on the processor, so that its seconds say how much work they are."""
        return self.device.type == "cpu"

    @property
    def late_steps(self) -> int:
        """Steps after which numbers of a step are read: reading them at once would make the device wait."""
        return 0 if self.device.type == "cpu" else _LATE_STEPS

    def alone(self) -> Compute:
        """Return this device for work that no other process shares."""
        return replace(self, rank=0, count=1, control=None)

    def put(self, tensor: Tensor) -> Tensor:
        """Return a tensor on the device; from pinned memory the copy is queued and not waited for."""
        return tensor.to(self.device, non_blocking=True)

    def place(self, network: N) -> N:
        """Move a network to the device, in the memory layout that is fast there; return it."""
        if self.device.type in _CHANNELS_LAST:
            return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network.to(self.device)

    def hold_memory(self) -> None:
        """Let the allocator keep what large tensors on the processor free, for the next ones; the whole process has it.

        glibc gives every block of more than 32 MiB back to the system and has the next one's pages filled with zeros
        again: 5 to 9 % of a training step with maps of that size (``experiments.benchmarks.released``).
        """
        if self.on_processor:
            allocator.hold()

    def later(self, values: Tensor) -> Callable[[], list[float]]:
        """Return what reads values ``(n,)``, without waiting for steps that were begun since."""
        if self.device.type not in _WITH_STREAMS:
            return lambda: self.read(values)
        copied = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        copied.copy_(values.detach(), non_blocking=True)
        done = torch.Event(self.device)
        done.record(torch.accelerator.current_stream(self.device))

        def read() -> list[float]:
            done.synchronize()
            return self.read(copied)

        return read

    @staticmethod
    def read(values: Tensor) -> list[float]:
        """Return values ``(n,)`` as numbers; the host waits for the device."""
        return [float(value) for value in Compute.host(values).tolist()]

    @staticmethod
    def host(tensor: Tensor) -> Tensor:
        """Return a tensor in main memory: the one place where the host waits for the device."""
        return tensor.cpu()

    def free_memory(self) -> int | None:
        """Return the bytes that a process may still take on the device; None where it does not say.

        What PyTorch keeps of a device for later counts. Processes of one machine share its main memory evenly.
        """
        if self.device.type in _WITH_STREAMS:
            module = getattr(torch, self.device.type)
            kept = module.memory_reserved(self.device) - module.memory_allocated(self.device)
            return int(module.mem_get_info(self.device)[0] + kept)
        free = free_main_memory() if self.on_processor else None
        beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if self.count > 1 else 1
        return None if free is None else free // beside

    def whole_memory(self) -> int | None:
        """Return the bytes of memory that the device has; None where it does not say."""
        if self.device.type in _WITH_STREAMS:
            return int(getattr(torch, self.device.type).mem_get_info(self.device)[1])
        return main_memory() if self.on_processor else None

    @contextmanager
    def peak_memory(self) -> Iterator[Callable[[], int | None]]:
        """Give what returns the most bytes that tensors took on the device since then; None where nobody counts."""
        module = getattr(torch, self.device.type) if self.device.type in _WITH_STREAMS else None
        if module is not None:
            module.reset_peak_memory_stats(self.device)
        yield lambda: None if module is None else int(module.max_memory_allocated(self.device))

    def can_share(self, batch_size: int, *, in_pairs: bool = False) -> bool:
        """Return whether the processes can share a batch of this size; see :meth:`part_of`."""
        return (self.count == 1 and not in_pairs) or batch_size % (2 * self.count) == 0

    def part_of(self, batch_size: int, *, in_pairs: bool = False) -> npt.NDArray[np.int64]:
        """Return the places of this process's part in a joined batch: a slice and its mirror image.

        Mixing pairs place ``i`` with place ``-1 - i``, so a process needs both ends of the batch.

        Args:
            batch_size: images of the joined batch.
            in_pairs: whether images are mixed, which one process needs pairs for, too.

        Raises:
            ValueError: if the processes cannot share a batch of this size.
        """
        if not self.can_share(batch_size, in_pairs=in_pairs):
            raise ValueError(
                f"batch_size {batch_size}: mixing images or {self.count} processes need a multiple of {2 * self.count}"
            )
        if self.count == 1:
            return np.arange(batch_size)
        half = batch_size // (2 * self.count)
        head = np.arange(self.rank * half, (self.rank + 1) * half)
        return np.concatenate([head, batch_size - 1 - head[::-1]])

    def take_part(self, joined: Tensor) -> Tensor:
        """Return this process's part, see :meth:`part_of`, of a tensor with a row for every image of all."""
        if self.count == 1:
            return joined
        mine = len(joined) // self.count
        head, tail = mine - mine // 2, mine // 2
        first = joined[self.rank * head : (self.rank + 1) * head]
        end = len(joined) - self.rank * tail
        return torch.cat([first, joined[end - tail : end]])

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add a tensor of every process up, in place; all processes call this together."""
        if self.count > 1:
            with _answered():
                distributed.all_reduce(tensor)
        return tensor

    def copy_first_(self, tensor: Tensor) -> None:
        """Replace a tensor of every process by the first one's, in place; all processes call this together."""
        if self.count > 1:
            with _answered():
                distributed.broadcast(tensor, src=0)

    def stack(self, tensor: Tensor) -> Tensor:
        """Return a tensor of every process, ``(count, ...)`` in their order; all processes call this together."""
        stacked = tensor.new_empty(self.count, *tensor.shape)
        with _answered():
            if tensor.device.type == "cpu":
                self._exchange(tensor, stacked)
            else:
                _gather_whole(stacked.view(-1), tensor.reshape(-1))
        return stacked

    def _exchange(self, tensor: Tensor, stacked: Tensor) -> None:
        """Send a tensor to each other process and receive theirs.

        For a few numbers this takes a third of the time that gloo needs to gather or add them up.
        """
        others = [rank for rank in range(self.count) if rank != self.rank]
        sent = [distributed.isend(tensor, other) for other in others]
        stacked[self.rank] = tensor
        for other in others:
            distributed.recv(stacked[other], other)
        for each in filter(None, sent):
            each.wait()

    def mean_(self, tensor: Tensor) -> Tensor:
        """Average a tensor of every process, in place; all processes call this together."""
        return self.sum_(tensor).div_(self.count) if self.count > 1 else tensor

    def share_out(self, jobs: Sequence[T], can_join: Callable[[T], bool]) -> Iterator[tuple[T, Compute]]:
        """Yield the jobs that this process takes part in, with the processes that do each of them.

        While there are as many jobs as processes, each process does one of its own; all do the others together.

        Args:
            jobs: the jobs, the same in every process.
            can_join: whether several processes can do a job together; else one of them does it.
        """
        whole = len(jobs) - len(jobs) % self.count
        joined = [job for job in jobs[whole:] if can_join(job)]
        own = [*jobs[:whole], *(job for job in jobs[whole:] if not can_join(job))]
        for job in own[self.rank :: self.count]:
            yield job, self.alone()
        self.wait()
        for job in joined:
            yield job, self

    def wait(self) -> None:
        """Wait, however long it takes, until every process came here."""
        if self.count > 1:
            with _answered():
                distributed.barrier(group=self.control)

    def gather(self, value: T) -> list[T]:
        """Return the value of every process, in their order; all processes call this together."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        with _answered():
            distributed.all_gather_object(values, value, group=self.control)
        return values

    def from_first(self, work: Callable[[], T]) -> T:
        """Let the first process do ``work`` while the others wait, however long it takes; return its result to all.

        Raises:
            Exception: in the first process, what ``work`` raised.
            StoppedElsewhere: in the others then.
        """
        if self.count == 1:
            return work()
        if not self.is_first:
            result, failure = pickle.loads(self._broadcast(None))
            if failure is not None:
                raise StoppedElsewhere(failure)
            return result
        try:
            result = work()
            told = pickle.dumps((result, None))
        except BaseException as error:
            with suppress(StoppedElsewhere):  # what happened here says more
                self._broadcast(pickle.dumps((None, f"{type(error).__name__}: {error}".removesuffix(": "))))
            raise
        self._broadcast(told)
        return result

    def once(self, work: Callable[[], object]) -> None:
        """Let the first process do ``work`` while the others wait, however long it takes; see :meth:`from_first`."""

        def without_result() -> None:
            work()

        self.from_first(without_result)

    def announce(self) -> None:
        """Print the device and the number of processes, once."""
        if self.is_first:
            print(f"device: {self}", flush=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> Compute:
        return self  # a network that knows its processes is copied, the processes are not

    def _broadcast(self, content: bytes | None) -> Any:
        held = [content]
        with _answered():
            distributed.broadcast_object_list(held, src=0, group=self.control)
        return held[0]

    def __str__(self) -> str:
        name = "" if self.device.type == "cpu" else f" ({device_name(self.device)})"
        return f"{self.device}{name}" + (f", {self.count} processes" if self.count > 1 else "")


@contextmanager
def _answered() -> Iterator[None]:
    """Say in words that another process ended, or did not answer within the limit of its group."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise StoppedElsewhere(f"a process ended or did not answer; what it printed says why ({reason})") from error


def _gather_whole(gathered: Tensor, tensor: Tensor) -> None:
    """Gather flat tensors into one; releases of PyTorch from 2.14 on have a new name for it."""
    gather = getattr(distributed, "all_gather_single", None) or distributed.all_gather_into_tensor
    gather(gathered, tensor)


ALONE = Compute()
"""The processor, and one process."""


@contextmanager
def open_compute(device: str = "auto", limit: datetime.timedelta | None = None) -> Iterator[Compute]:
    """Find the device, and join the processes that ``torchrun`` started, each with a device of its own.

    Args:
        device: ``auto`` (an accelerator if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``xpu``.
        limit: longest time that a process waits for the others within a step; torch's own, 30 minutes, if left out.
            Everywhere else they wait as long as it takes.

    Raises:
        ValueError: if there is no such device, or fewer of them than processes on this machine.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count > 1 and ":" in device:
        raise ValueError(f"device {device}: {count} processes need one each; give {device.partition(':')[0]}")
    found = find_device(device, int(os.environ.get("LOCAL_RANK", "0")) if count > 1 else 0)
    if found.type in ("cuda", "xpu"):
        getattr(torch, found.type).set_device(found)
    if count == 1:
        yield Compute(found)
        return
    if found.type not in _BACKENDS:
        raise ValueError(f"device {found}: several processes cannot share work on {found.type}; start one, or use cpu")
    if found.type == "xpu" and not getattr(distributed, "is_xccl_available", lambda: False)():
        raise ValueError("device xpu: several processes need a PyTorch with XCCL (2.8 or later); start one, or use cpu")
    own = found if found.type == "cuda" else None
    distributed.init_process_group(_BACKENDS[found.type], device_id=own, timeout=limit)
    control = distributed.new_group(backend="gloo", timeout=_NO_LIMIT)
    rank = distributed.get_rank()
    yield Compute(found, rank, count, control, shows=rank == 0)
    # Not after an exception: the others may be waiting for this process, which would then wait for them, and never end.
    distributed.destroy_process_group()


def find_device(name: str = "auto", local_rank: int = 0) -> torch.device:
    """Return the device of a name.

    Args:
        name: ``auto`` (an accelerator if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``xpu``.
        local_rank: number of this process on its machine; without a number in the name it takes the device of its own.

    Raises:
        ValueError: naming the devices that there are.
    """
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        name = "cpu" if accelerator is None else accelerator.type
    kind, _, number = name.partition(":")
    if name == "cpu":
        return CPU
    there = 0 if accelerator is None or accelerator.type != kind else torch.accelerator.device_count()
    index = int(number) if number.isdigit() else local_rank
    if index >= there or (number and not number.isdigit()):
        raise ValueError(_no_such_device(name, local_rank))
    return torch.device(kind) if kind == "mps" else torch.device(kind, index)


def devices() -> list[torch.device]:
    """Return all devices of this machine, the processor first."""
    if not torch.accelerator.is_available():
        return [CPU]
    accelerator = torch.accelerator.current_accelerator()
    assert accelerator is not None
    return [CPU, *(torch.device(accelerator.type, number) for number in range(torch.accelerator.device_count()))]


def _no_such_device(name: str, local_rank: int) -> str:
    there = [str(each) for each in devices()]
    many = f" for process {local_rank + 1} of this machine; start fewer" if local_rank else ""
    return f"device {name!r}: there is none{many}; here are auto, {', '.join(there)}"


_GROUPS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", "total_inactive_file"),
)
"""Below a folder of control groups, of either version of these: a container's limit, what it uses, and how much of that
is kept of files and can be had back."""


def free_main_memory(groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the bytes of main memory that are free, of the machine and of the container; None: nobody says.

    Args:
        groups: folder of Linux's control groups.
    """
    found = []
    with suppress(OSError, ValueError, IndexError, StopIteration):
        found.append(1024 * _number_of("MemAvailable:", Path("/proc/meminfo")))
    for limit, used, details, files in _GROUPS:
        with suppress(OSError, ValueError, IndexError, StopIteration):
            most, taken = (int((groups / name).read_text(encoding="ascii")) for name in (limit, used))
            found.append(max(0, most - taken + _number_of(files, groups / details)))
    return min(found, default=None)


def _number_of(name: str, path: Path) -> int:
    """Return the number behind a name in a file of the system that has one in each line."""
    lines = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    return next(int(line[1]) for line in lines if line and line[0] == name)


def memory_limit(groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the bytes of memory that a container may have; None: nobody says. Without a limit they are very many.

    Args:
        groups: folder of Linux's control groups.
    """
    for name, *_ in _GROUPS:
        with suppress(OSError, ValueError):
            return int((groups / name).read_text(encoding="ascii"))
    return None


def main_memory() -> int | None:
    """Return the bytes of memory of this machine; None where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def device_name(device: torch.device) -> str:
    """Return the name of a device as its maker gives it."""
    if device.type in ("cuda", "xpu"):
        return str(getattr(torch, device.type).get_device_name(device))
    return platform.processor() or platform.machine()


def capability(device: torch.device) -> str:
    """Return NVIDIA's number for what a GPU can do, such as ``9.0``; empty for other devices."""
    return ".".join(map(str, torch.cuda.get_device_capability(device))) if device.type == "cuda" else ""
