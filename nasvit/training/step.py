"""The training step of all networks that share weights: several subnets, each with its loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from nasvit.supernets.gradients import FlatGradients
from nasvit.training.conflict import ConflictPolicy, ConflictReport
from nasvit.training.execution import SIMPLE, Execution
from nasvit.training.sampling import Member

Targets = TypeVar("Targets", Tensor, tuple[Tensor, ...])
"""What a criterion compares logits with: a tensor with a row for every image, or several."""


class Shared(Protocol):
    """Interface between a step and a network with shared weights."""

    @property
    def gradients(self) -> FlatGradients: ...

    def at(self, subnet: Any, /) -> nn.Module: ...


@dataclass(frozen=True)
class StepLosses:
    """Losses of one step. Tensors stay on the device until they are read.

    Args:
        first: loss of the first subnet.
        others: loss of each other subnet, in the order they ran. A distillation loss may be a surrogate, of which
            only the gradient means something.
        conflict: conflicts between the gradients, if the policy measures them.
    """

    first: Tensor
    others: list[Tensor] = field(default_factory=list)
    conflict: ConflictReport | None = None

    @property
    def finite(self) -> Tensor:
        """Whether every loss is a finite number."""
        return torch.isfinite(torch.stack([self.first, *self.others])).all()


def shared_step(
    network: Shared,
    images: Tensor,
    targets: Targets,
    *,
    members: Sequence[Member],
    criterion: Callable[[Tensor, Targets], Tensor],
    conflict: ConflictPolicy,
    distill: Callable[[Tensor, Tensor], Tensor] | None = None,
    prepare: Callable[[nn.Module, Member], None] | None = None,
    execution: Execution = SIMPLE,
) -> StepLosses:
    """Add the gradients of one step to ``network``; the caller owns the optimizer.

    The first subnet learns from the targets. With ``distill`` (the sandwich rule, where it is the largest) every other
    one learns from its logits; without (the switches of a slimmable network, NetAug) from the targets as well.

    Source: Yu et al., BigNAS (2020), section 3.2, https://arxiv.org/abs/2003.11142; Wang et al., AlphaNet (2021),
    https://arxiv.org/abs/2102.07954; Yu et al., Slimmable Neural Networks (2019), algorithm 1,
    https://arxiv.org/abs/1812.08928; Cai et al., NetAug (2022), section 3.2, https://arxiv.org/abs/2110.08890

    Args:
        network: the network; its gradients must be zero.
        images: shape ``(batch, channels, height, width)``.
        targets: targets of ``criterion``: labels ``(batch,)``, probabilities ``(batch, classes)``, or a tuple of such
            tensors.
        members: subnets of the step, drawn by a sampling rule.
        criterion: loss of the first subnet, from logits and targets; without ``distill`` that of all.
        conflict: policy for gradients that disagree.
        distill: loss of the others, from their logits and the first subnet's (detached), or None.
        prepare: called with every subnet before it runs, to set dropout for example.
        execution: number format, accumulation and processes.

    Returns:
        The losses, detached and weighted: means over the images of this process.
    """
    parts = _parts(images, targets, execution.running.accumulate)
    soft_targets, losses = list[Tensor](), list[Tensor]()
    for number, member in enumerate(members):
        subnet = network.at(member.subnet).train()
        if prepare is not None:
            prepare(subnet, member)
        run, loss_of_parts = execution.runner(subnet, member), list[Tensor]()
        for place, part in enumerate(parts):
            with execution.autocast():
                logits = run(part.images)
                if number and distill is not None:
                    loss = distill(logits, soft_targets[place])
                else:
                    loss = criterion(logits, part.targets)
            weight = member.weight * part.share
            if weight != 1:
                loss = weight * loss
            execution.scaled(loss).backward()  # type: ignore[no-untyped-call]
            loss_of_parts.append(loss.detach())
            if not number:
                soft_targets.append(logits.detach())
        losses.append(sum(loss_of_parts[1:], loss_of_parts[0]))
        if not number:
            conflict.after_largest(network.gradients)
    return StepLosses(losses[0], losses[1:], conflict.combine(network.gradients, execution.join_))


class _Part(NamedTuple):
    """Images of a batch that run together, their targets, and their share of the batch."""

    images: Tensor
    targets: Any
    share: float


def _parts(images: Tensor, targets: Targets, count: int) -> list[_Part]:
    """Split a batch into parts of about equal size."""
    if count == 1:
        return [_Part(images, targets, 1.0)]
    split = images.tensor_split(min(count, len(images)))
    sizes = [len(each) for each in split]
    if isinstance(targets, Tensor):
        targets_of_parts: list[Any] = list(targets.split(sizes))
    else:
        targets_of_parts = list(zip(*(each.split(sizes) for each in targets), strict=True))
    return [_Part(*each, len(each[0]) / len(images)) for each in zip(split, targets_of_parts, strict=True)]
