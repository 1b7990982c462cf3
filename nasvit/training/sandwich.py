"""One training step of a supernet: the sandwich rule with in-place distillation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from nasvit.supernets.gradients import FlatGradients
from nasvit.training.conflict import ConflictPolicy, ConflictReport
from search_spaces import Architecture, Space

A = TypeVar("A", contravariant=True)


class Shared(Protocol[A]):
    """What a step needs of a supernet."""

    @property
    def gradients(self) -> FlatGradients: ...

    def at(self, architecture: A, /) -> nn.Module: ...


@dataclass(frozen=True)
class StepLosses:
    """What one step measured. Tensors stay on the device until somebody reads them.

    Args:
        largest: loss of the largest subnet.
        others: loss of each other subnet, in the order they ran. A distillation loss may be a surrogate, of which
            only the gradient means something.
        conflict: how the gradients met, if the policy measures it.
    """

    largest: Tensor
    others: list[Tensor] = field(default_factory=list)
    conflict: ConflictReport | None = None

    @property
    def finite(self) -> bool:
        """Whether every loss is a finite number."""
        return bool(torch.isfinite(torch.stack([self.largest, *self.others])).all())


@dataclass(frozen=True)
class Sandwich:
    """The sandwich rule: the largest subnet, the smallest, and some at random.

    Source: Yu and Huang, Universally Slimmable Networks (2019), section 3.2, https://arxiv.org/abs/1903.05134

    Args:
        space: where subnets come from.
        random: how many subnets are drawn a step.
        smallest: whether the smallest subnet takes part.
    """

    space: Space
    random: int = 2
    smallest: bool = True

    def __call__(self, rng: np.random.Generator) -> list[Architecture]:
        """Return the subnets of one step, the largest first."""
        drawn = self.space.decode(self.space.genome.sample(self.random, rng)) if self.random else []
        return [self.space.largest, *([self.space.smallest] if self.smallest else []), *drawn]


def sandwich_step(
    supernet: Shared[Any],
    images: Tensor,
    targets: Tensor,
    *,
    subnets: Sequence[Any],
    criterion: Callable[[Tensor, Tensor], Tensor],
    distill: Callable[[Tensor, Tensor], Tensor] | None,
    conflict: ConflictPolicy,
    prepare: Callable[[nn.Module, bool], None] | None = None,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> StepLosses:
    """Add the gradients of one step to ``supernet``; the caller owns the optimizer.

    The first subnet (the largest) learns from the targets, every other one from its logits, or, without distillation,
    from the targets as well (as the switches of a slimmable network do).

    Source: Yu et al., BigNAS (2020), section 3.2, https://arxiv.org/abs/2003.11142; Wang et al., AlphaNet (2021),
    https://arxiv.org/abs/2102.07954; Yu et al., Slimmable Neural Networks (2019), algorithm 1,
    https://arxiv.org/abs/1812.08928

    Args:
        supernet: gradients are expected to be zero.
        images: shape ``(batch, channels, height, width)``.
        targets: what ``criterion`` compares logits with: labels ``(batch,)`` or probabilities ``(batch, classes)``,
            for example an external teacher's.
        subnets: which subnets take part, the largest first.
        criterion: loss of the largest subnet, from logits and targets; without ``distill`` that of all.
        distill: loss of the others, from their logits and the largest subnet's (detached), or None.
        conflict: what to do where the gradients disagree.
        prepare: called with every subnet before it runs, and whether it is the largest (dropout and the like).
        autocast: gives the context that forward passes run in.

    Returns:
        The losses, detached.
    """
    largest, *others = subnets
    network = supernet.at(largest).train()
    if prepare is not None:
        prepare(network, True)
    with autocast():
        logits = network(images)
        loss = criterion(logits, targets)
    loss.backward()  # type: ignore[no-untyped-call]
    conflict.after_largest(supernet.gradients)

    soft_targets, losses = logits.detach(), []
    for architecture in others:
        network = supernet.at(architecture).train()
        if prepare is not None:
            prepare(network, False)
        with autocast():
            scores = network(images)
            other_loss = criterion(scores, targets) if distill is None else distill(scores, soft_targets)
        other_loss.backward()  # type: ignore[no-untyped-call]
        losses.append(other_loss.detach())
    return StepLosses(loss.detach(), losses, conflict.combine(supernet.gradients))
