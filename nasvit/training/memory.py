"""How much memory a step of a training will take, found on tensors that take none."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeCopyMode, FakeTensorMode
from torch.fx.experimental import _config
from torch.overrides import TorchFunctionMode

from nasvit.compute import Compute
from nasvit.data.finishing import Batch
from nasvit.data.targets import map_tensors
from nasvit.layers.alive import AliveTensors
from nasvit.tasks.objective import Objective
from nasvit.training.execution import Execution, Precision
from nasvit.training.learner import Learner
from nasvit.training.optimizers import MOMENTS
from nasvit.training.start import Saving
from nasvit.training.trainer import Trainer

_META = torch.device("meta")


@dataclass(frozen=True)
class StepMemory:
    """What a step of a training takes.

    Args:
        held: bytes that are taken between steps: weights, gradients, those that a conflict policy puts aside, moments,
            moving averages, teachers.
        there: how many of these are taken already.
        activations: bytes of the batch and of what networks compute of it, at the moment when they are most.
        at_once: images that run at once.
    """

    held: int
    there: int
    activations: int
    at_once: int

    @property
    def whole(self) -> int:
        """Bytes of everything."""
        return self.held + self.activations

    @property
    def missing(self) -> int:
        """Bytes that are not taken yet."""
        return self.whole - self.there


def step_memory(trainer: Trainer, batch: Batch, parts: int | None = None) -> StepMemory:
    """Foresee the memory of a step: its largest network learns what it would learn, on tensors without numbers.

    Nothing of the trainer changes. What kernels take for themselves while they run is not foreseen.

    Args:
        trainer: a trainer of a :class:`nasvit.training.learner.Learner`.
        batch: images and targets such as those of the trainer's loader, as few as there may be.
        parts: parts that a batch is split into, one after the other; None: as the trainer splits it.
    """
    (images, targets), count, learner = batch, len(trainer.loader.places), trainer.learner
    assert isinstance(learner, Learner), "what learns in another way keeps something else"
    at_once = math.ceil(count / min(parts or trainer.execution.running.accumulate, count))
    held, there = _held(trainer, learner)
    waiting = (count - at_once) * images[0].numel() * images.element_size()
    return StepMemory(
        held, there, waiting + _activations(learner, trainer.execution, images, targets, at_once), at_once
    )


def _held(trainer: Trainer, learner: Learner) -> tuple[int, int]:
    """Return the bytes that are taken between steps, and those of them that are taken already."""
    networks: list[nn.Module] = [learner.model, *trainer.averages]
    if isinstance(teacher := getattr(learner.objective, "teacher", None), nn.Module):
        networks.append(teacher)
    moments = [each for kept in trainer.optimizer.state.values() for each in kept.values() if isinstance(each, Tensor)]
    policy, rows = learner.conflict, learner.gradients.rows
    there = _bytes_of([*_tensors_of(*networks), rows, *moments, *policy.kept])
    trained = _bytes_of(each for group in trainer.optimizer.param_groups for each in group["params"])
    later = max(0, MOMENTS[trainer.recipe.optimizer] * trained - _bytes_of(moments))
    later += policy.copies * rows.nbytes - _bytes_of(policy.kept)
    return there + later, there


def _tensors_of(*networks: nn.Module) -> Iterator[Tensor]:
    for network in networks:
        yield from network.parameters()
        yield from network.buffers()


def _bytes_of(tensors: Iterable[Tensor]) -> int:
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}
    return sum(storages.values())


def _activations(learner: Learner, execution: Execution, images: Tensor, targets: Any, count: int) -> int:
    """Return the most bytes that are alive while the largest network of a step learns of so many images."""
    if execution.precision in ("bfloat16", "float16"):  # which the meta device does not have
        pretended = FakeTensorMode(allow_non_fake_inputs=True)
        with suppress(DynamicOutputShapeException):  # as in torchvision's loss of boxes: float32 is no less then
            with FakeCopyMode(pretended):
                alike = _copied(learner, execution.compute, execution.compute.device)
            with pretended:
                return _peak(learner, execution, alike, images, targets, count, execution.precision)
    with _CopiesWithoutNumbers():
        alike = _copied(learner, execution.compute, _META)
    with _config.patch(meta_nonzero_assume_all_nonzero=True):  # type: ignore[attr-defined]  # it is made at import
        return _peak(learner, execution, alike, images, targets, count, "float32")


_Alike = tuple[nn.Module, Objective, Compute]


def _copied(learner: Learner, compute: Compute, device: torch.device) -> _Alike:
    """Return the largest network of a step and the objective of a learner, on a device and with no other processes."""
    alone = replace(compute.alone(), device=device)
    network, objective = copy.deepcopy((_largest(learner), learner.objective), {id(compute): alone})
    return network, objective, alone


def _peak(
    learner: Learner,
    execution: Execution,
    alike: _Alike,
    images: Tensor,
    targets: Any,
    count: int,
    precision: Precision,
) -> int:
    """Return the most bytes that are alive while a network that is alike learns."""
    network, objective, compute = alike
    student = Learner(network, replace(learner.recipe, loaded_rate=1.0, frozen_epochs=0), objective)
    running = replace(execution.running, accumulate=1, compile=False, precision=precision)
    alive = AliveTensors()
    teachers = [each for each in vars(objective).values() if isinstance(each, nn.Module)]
    alive.ignore([*_tensors_of(network, *teachers), student.gradients.rows])
    with alive:
        learned = map_tensors(lambda each: _like(each, count, compute.device), targets)
        few = _like(images, count, compute.device)
        student.add_gradients(few, learned, np.random.default_rng(0), Execution(running, compute))
    return alive.peak


def _largest(learner: Learner) -> nn.Module:
    """Return the network with most parameters of those that take part in a step."""
    sampling = learner.sampling.rule if isinstance(learner.sampling, Saving) else learner.sampling
    subnets = [member.subnet for member in sampling(np.random.default_rng(0))]
    networks: list[nn.Module] = [learner.shared.at(each) for each in subnets]
    return max(networks, key=lambda network: sum(each.numel() for each in network.parameters()))


def _like(rows: Tensor, count: int, device: torch.device) -> Tensor:
    """Return a tensor with more rows such as another's, in its layout."""
    layout = torch.contiguous_format
    if rows.dim() == 4 and rows.is_contiguous(memory_format=torch.channels_last):
        layout = torch.channels_last
    return torch.empty((count, *rows.shape[1:]), dtype=rows.dtype, device=device, memory_format=layout)


class _CopiesWithoutNumbers(TorchFunctionMode):
    """Lets ``copy.deepcopy`` make tensors on the meta device, inside."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        if func is torch.Tensor.clone or func is torch._C.TensorBase.clone:
            return torch.empty_like(args[0], device=_META, **options)
        if func is torch.Tensor.__deepcopy__:
            tensor, memo = args
            if id(tensor) not in memo:
                copied = torch.empty_like(tensor, device=_META, requires_grad=tensor.requires_grad)
                memo[id(tensor)] = copied
            return memo[id(tensor)]
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **options)
