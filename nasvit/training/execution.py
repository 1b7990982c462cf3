"""How the steps of a training are computed: number format, accumulation, processes, compilation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import torch
from torch import Tensor, nn

from nasvit.compute import ALONE, Compute
from nasvit.training.recompute import Recomputed
from nasvit.training.sampling import Member
from search_spaces.ranges import Checked, Range
from search_spaces.values import FieldError

Precision = Literal["auto", "float32", "tf32", "bfloat16", "float16"]

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_TF32: tuple[tuple[Any, str, Any, Any], ...] = (
    (
        (torch.backends.cuda.matmul, "fp32_precision", "tf32", "ieee"),
        (torch.backends.cudnn.conv, "fp32_precision", "tf32", "ieee"),  # type: ignore[attr-defined]
    )
    if hasattr(torch.backends.cuda.matmul, "fp32_precision")
    else ((torch.backends.cuda.matmul, "allow_tf32", True, False), (torch.backends.cudnn, "allow_tf32", True, False))
)
"""The switches of TF32, with their values for coarse and for exact products; PyTorch 2.9 has new ones."""

MOST_COMPILED = 8
"""Subnets of one training that are compiled at most: PyTorch compiles one piece of code no more often."""

_BFLOAT16_SINCE = (8, 0)  # the CUDA compute capability from which bfloat16 is fast


@dataclass(frozen=True, kw_only=True)
class Running(Checked):
    """How the steps of a training are computed; what is computed does not change, beyond rounding.

    Args:
        precision: ``float32``; ``tf32``: float32 with faster, coarser matrix products on NVIDIA GPUs; ``bfloat16`` and
            ``float16``: mixed precision, the latter with a scaled loss; ``auto``: mixed precision where the device is
            fast at it, float32 on a processor.
        compile: compile the subnets that take part in every step, such as the largest and the smallest, with
            ``torch.compile``; those that are drawn run as they are. Masks of dropout are other ones then.
        accumulate: parts that every batch is split into, one after the other, to save memory. Batch norms see the
            images of one part.
        recompute: keep only the input of every block for the backward pass, which computes again what is inside:
            about half the memory, for the time of a second forward pass.
        batch_norm: ``joined``: batch norms see the joined batch of all processes, which so compute what one does;
            ``own``: each process normalizes by its own part, which saves communication.
        deterministic: the same numbers every time on an NVIDIA GPU too, at some cost in speed: where PyTorch has a
            slower operation whose sums have an order it is taken, and where it has none PyTorch warns.
    """

    precision: Precision = "auto"
    compile: bool = False
    accumulate: Annotated[int, Range(1, 131_072)] = 1
    recompute: bool = False
    batch_norm: Literal["joined", "own"] = "joined"
    deterministic: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compile and self.recompute:
            raise FieldError(
                ["recompute"], "what is compiled decides by itself what it keeps; leave compile out, or it"
            )


PLAIN = Running(precision="float32")
"""Everything as it is: float32, whole batches, nothing compiled."""


class LossScale:
    """The factor on losses that keeps float16 gradients from underflow; it never makes the device wait.

    It is halved after a step that overflowed, and doubled after many steps in a row that did not.

    Args:
        device: device of the factor.
        start: the first factor.
        interval: steps without overflow after which it is doubled.

    Source: Micikevicius et al., Mixed Precision Training (2018), section 3.2, https://arxiv.org/abs/1710.03740
    """

    def __init__(self, device: torch.device, *, start: float = 2.0**16, interval: int = 2000) -> None:
        self.factor = torch.full((), start, device=device)
        self.good = torch.zeros((), dtype=torch.int32, device=device)
        self.interval = interval

    def update(self, sound: Tensor) -> None:
        """Follow a step.

        Args:
            sound: whether its gradients were finite; a scalar on the device.
        """
        good = torch.where(sound, self.good + 1, 0)
        grown = good >= self.interval
        self.factor = torch.where(sound, torch.where(grown, self.factor * 2, self.factor), self.factor / 2)
        self.good = torch.where(grown, 0, good).to(torch.int32)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the factor and the count of good steps."""
        return {"factor": self.factor, "good": self.good}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the state that ``state_dict`` returned."""
        self.factor, self.good = (state[name].to(self.factor.device) for name in ("factor", "good"))


def resolve(precision: Precision, device: torch.device) -> Precision:
    """Return the precision that ``auto`` means on a device, or the one asked for.

    Raises:
        ValueError: if the device cannot compute in it.
    """
    if precision == "auto":
        if device.type == "cuda":
            return "bfloat16" if torch.cuda.get_device_capability(device) >= _BFLOAT16_SINCE else "float16"
        return "bfloat16" if device.type == "xpu" else "float32"
    if precision in _AUTOCAST and not torch.amp.is_autocast_available(device.type):
        raise ValueError(f"precision {precision}: {device.type} has no mixed precision; legal there is float32")
    return precision


class Execution:
    """Carries out :class:`Running` on a device and with the processes that share a step.

    Args:
        running: how steps are computed.
        compute: the device and the processes.

    Raises:
        ValueError: if the device cannot compute in that precision.
    """

    def __init__(self, running: Running = PLAIN, compute: Compute = ALONE) -> None:
        self.running, self.compute = running, compute
        self.precision = resolve(running.precision, compute.device)
        self.scale = LossScale(compute.device) if self.precision == "float16" else None
        self._compiled: list[Any] = []
        if running.compile:
            torch._dynamo.reset()  # what earlier trainings compiled would count towards the bound
        self._graphs_before = _graphs() if running.compile else 0

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context that forward passes run in."""
        if self.precision not in _AUTOCAST:
            return nullcontext()
        return torch.autocast(self.compute.device.type, _AUTOCAST[self.precision])

    def scaled(self, loss: Tensor) -> Tensor:
        """Return the loss that the backward pass starts from."""
        return loss if self.scale is None else loss * self.scale.factor

    def join_(self, gradients: Tensor) -> None:
        """Turn this process's scaled gradients into those of the joined batch, in place."""
        self.compute.mean_(gradients)
        if self.scale is not None:
            gradients.div_(self.scale.factor)

    def runner(self, network: nn.Module, member: Member) -> Callable[[Tensor], Tensor]:
        """Return what runs a subnet: itself, or compiled if it takes part in every step, so that its shapes stay.

        Args:
            network: the subnet.
            member: its part in the step.

        Raises:
            ValueError: if its blocks should be computed again, and it has none.
        """
        if self.running.recompute:
            return Recomputed(network)
        if not (self.running.compile and member.fixed):
            return network
        if member.subnet not in self._compiled:
            self._compiled.append(member.subnet)
        if self._compiled.index(member.subnet) >= MOST_COMPILED:
            return network
        return cast("Callable[[Tensor], Tensor]", torch.compile(network, dynamic=False))

    @property
    def graphs(self) -> int:
        """Graphs that were compiled since this was made."""
        return _graphs() - self._graphs_before

    @contextmanager
    def numbers(self) -> Iterator[None]:
        """Let NVIDIA GPUs compute float32 products as the precision says, and in one order if asked to, inside."""
        with exact_products(self.precision == "float32"), in_order() if self.running.deterministic else nullcontext():
            yield


@contextmanager
def exact_products(exact: bool = True) -> Iterator[None]:
    """Let float32 matrix products and convolutions of NVIDIA GPUs be exact, or use TF32, inside."""
    before = [getattr(backend, name) for backend, name, *_ in _TF32]
    for backend, name, coarse, fine in _TF32:
        setattr(backend, name, fine if exact else coarse)
    try:
        yield
    finally:
        for (backend, name, *_), value in zip(_TF32, before, strict=True):
            setattr(backend, name, value)


@contextmanager
def in_order() -> Iterator[None]:
    """Let PyTorch take operations that give the same numbers every time, inside; it warns where it has none."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # nothing here reads what was not written
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def _graphs() -> int:
    from torch._dynamo.utils import counters  # slow to import, and needed by compiled trainings alone

    return int(counters["stats"]["unique_graphs"])


SIMPLE = Execution()
"""Float32, whole batches, one process; the device is that of the network."""
