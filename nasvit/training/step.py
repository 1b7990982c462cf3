"""The training step of all networks that share weights: several subnets, each with its loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nasvit.supernets.gradients import FlatGradients
from nasvit.training.conflict import ConflictPolicy, ConflictReport
from nasvit.training.sampling import Member


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
    def finite(self) -> bool:
        """Whether every loss is a finite number."""
        return bool(torch.isfinite(torch.stack([self.first, *self.others])).all())


def shared_step(
    network: Shared,
    images: Tensor,
    targets: Tensor,
    *,
    members: Sequence[Member],
    criterion: Callable[[Tensor, Tensor], Tensor],
    conflict: ConflictPolicy,
    distill: Callable[[Tensor, Tensor], Tensor] | None = None,
    prepare: Callable[[nn.Module, Member], None] | None = None,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
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
        targets: targets of ``criterion``: labels ``(batch,)`` or probabilities ``(batch, classes)``.
        members: subnets of the step, drawn by a sampling rule.
        criterion: loss of the first subnet, from logits and targets; without ``distill`` that of all.
        conflict: policy for gradients that disagree.
        distill: loss of the others, from their logits and the first subnet's (detached), or None.
        prepare: called with every subnet before it runs, to set dropout for example.
        autocast: returns the context that forward passes run in.

    Returns:
        The losses, detached and weighted.
    """
    soft_targets, losses = targets, list[Tensor]()
    for number, member in enumerate(members):
        subnet = network.at(member.subnet).train()
        if prepare is not None:
            prepare(subnet, member)
        with autocast():
            logits = subnet(images)
            if number and distill is not None:
                loss = distill(logits, soft_targets)
            else:
                loss = criterion(logits, targets)
        if member.weight != 1:
            loss = member.weight * loss
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
        if not number:
            soft_targets = logits.detach()
            conflict.after_largest(network.gradients)
    return StepLosses(losses[0], losses[1:], conflict.combine(network.gradients))
