"""Conflict policies: combine the gradients of the largest subnet and of the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from nasvit.supernets.gradients import FlatGradients, group_by_layer
from nasvit.training.sampling import Moment

Join = Callable[[Tensor], None]
"""Turns gradients of this process, in place, into those of the joined batch of all processes."""


def alone(gradients: Tensor) -> None:
    """Join the gradients of one process: they are those of its batch already."""


FAINT = 1e-12  # a gradient of a smaller norm is rounding noise, and its sign says nothing
# Softmax is shift invariant: the true gradient of these is zero, and what is there is rounding noise.
DEAD = ("key.bias", "mix_logits.bias")


_STAGE = re.compile(r"(?:network\.|backbones\.)*([A-Za-z_]*\d+|[A-Za-z_]+(?:\.\d+)?)")


def stage_of(name: str) -> str:
    """Return the stage that a parameter belongs to, by its full name: such as ``stem``, ``stages.2``, ``head``."""
    found = _STAGE.match(name)
    return name if found is None else found[1]


@dataclass(frozen=True)
class ConflictReport:
    """Conflicts between gradients in one step. Tensors stay on the device until they are read.

    Args:
        conflicting: for every group (layer or parameter) whether the two gradients had a negative inner product.
        compared: for every group whether both gradients were there to compare.
        subnet_norm: norm of the sum of the subnets' gradients before clipping.
        by_stage: share of the compared groups of every stage of the network that were in conflict, by its name; 0
            where none was compared.
    """

    conflicting: Tensor
    compared: Tensor
    subnet_norm: Tensor
    by_stage: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def share(self) -> Tensor:
        """Share of the compared groups that were in conflict."""
        return self.conflicting.sum() / self.compared.sum().clamp(min=1)


class ConflictPolicy(Protocol):
    """Sees the gradients of a step after the largest subnet, and again after all the others."""

    @property
    def copies(self) -> int:
        """How many gradients as large as the buffer it keeps between steps."""

    @property
    def kept(self) -> Sequence[Tensor]:
        """Those that it keeps already."""

    def before_step(self, moment: Moment) -> None:
        """Prepare a step; a function of its number alone, so that a resumed training goes on alike."""

    def after_largest(self, gradients: FlatGradients) -> None:
        """Take the buffer with the gradient of the largest subnet alone."""

    def combine(self, gradients: FlatGradients, join: Join = alone) -> ConflictReport | None:
        """Take the buffer with the gradients added since, and leave in it the gradient for the optimizer."""


class Sum:
    """Add all gradients, without measuring conflicts and without a copy.

    Args:
        clip: largest norm of the sum; None: no clipping.
        clip_value: largest size of every number of the sum, clipped before the norm; None: no clipping.
    """

    copies = 0
    kept: Sequence[Tensor] = ()

    def __init__(self, clip: float | None = None, clip_value: float | None = None) -> None:
        self.clip, self.clip_value = clip, clip_value

    def before_step(self, moment: Moment) -> None:
        """Do nothing: every step is alike."""

    def after_largest(self, gradients: FlatGradients) -> None:
        """Do nothing: the others add to the same buffer."""

    def combine(self, gradients: FlatGradients, join: Join = alone) -> ConflictReport | None:
        """Clip the sum."""
        join(gradients.rows)
        if self.clip_value is not None:
            gradients.clip_values_(self.clip_value)
        if self.clip is not None:
            gradients.clip_(self.clip)
        return None


class Project:
    """Project the largest subnet's gradient off its part that opposes the others.

    With ``g_m`` the largest subnet's gradient and ``g_s`` the (clipped) sum of the others', every group with a
    negative inner product gets ``g_s + g_m - (<g_m, g_s> / |g_s|^2) g_s``, so the others have priority; the
    coefficient is capped.

    Source: Gong et al., NASViT (2022), section 3, https://openreview.net/forum?id=Qaw16njk6L; released code for the
    cap of 2, the clipping of the subnets' part alone, and groups of one parameter tensor.

    Args:
        names: the full name of every parameter of the gradient buffer, in its order.
        per: a group is a ``"tensor"`` (as released) or a ``"layer"`` (all parameters of one module).
        clip: largest norm of the subnets' summed gradient; None: no clipping.
        clip_value: largest size of every number of that gradient, clipped before its norm; None: no clipping.
        cap: largest coefficient.
        project: False measures conflicts only and leaves the sum.
        project_from: first epoch, counted from 0, that projects; earlier ones measure only. The released code has 101.
    """

    copies = 1

    def __init__(
        self,
        names: Sequence[str],
        *,
        per: Literal["tensor", "layer"] = "tensor",
        clip: float | None = 1.0,
        clip_value: float | None = None,
        cap: float = 2.0,
        project: bool = True,
        project_from: int = 0,
    ) -> None:
        self.clip, self.clip_value, self.cap = clip, clip_value, cap
        self.project, self.project_from, self._begun = project, project_from, project_from == 0
        self.group_names, groups = group_by_layer(names) if per == "layer" else (list(names), torch.arange(len(names)))
        self._groups = groups
        self._alive = torch.tensor([not name.endswith(DEAD) for name in self.group_names])
        stages = [stage_of(name) for name in self.group_names]
        self.stages = tuple(dict.fromkeys(stages))
        self._in_stage = torch.tensor([[stage == each for each in stages] for stage in self.stages]).float()
        self._largest: Tensor | None = None

    @property
    def kept(self) -> Sequence[Tensor]:
        """The largest subnet's gradient, once there was one."""
        return () if self._largest is None else (self._largest,)

    def before_step(self, moment: Moment) -> None:
        """Find out whether the epoch that projects first has begun."""
        self._begun = moment.step >= self.project_from * moment.steps_per_epoch

    def after_largest(self, gradients: FlatGradients) -> None:
        """Put the largest subnet's gradient aside and start the others from zero."""
        if self._largest is None or self._largest.shape != gradients.rows.shape:
            self._largest = torch.empty_like(gradients.rows)
            kept = self._groups, self._alive, self._in_stage
            self._groups, self._alive, self._in_stage = (each.to(gradients.rows.device) for each in kept)
        self._largest.copy_(gradients.rows)
        gradients.zero_()

    def combine(self, gradients: FlatGradients, join: Join = alone) -> ConflictReport:
        """Clip the subnets' part, project the largest subnet's, and add the two in the buffer.

        Raises:
            RuntimeError: without :meth:`after_largest` in the same step.
        """
        largest, subnets = self._largest, gradients.rows
        if largest is None:
            raise RuntimeError("combine() needs after_largest() in the same step")
        join(largest)
        join(subnets)
        subnet_norm = self._clip(gradients)

        groups, count = self._groups, len(self.group_names)
        inner, square, largest_square = (
            gradients.inner(*pair, groups, count)
            for pair in ((subnets, largest), (subnets, subnets), (largest, largest))
        )
        compared = (square >= FAINT**2) & (largest_square >= FAINT**2) & self._alive
        if self.project and self._begun:
            weight = 1 + (-inner / (square + 1e-6)).clamp(0, self.cap)
            subnets.mul_(weight[self._groups[gradients.owner]][:, None])
        subnets.add_(largest)
        conflicting = (inner < 0) & compared
        return ConflictReport(conflicting, compared, subnet_norm, self._by_stage(conflicting, compared))

    def _by_stage(self, conflicting: Tensor, compared: Tensor) -> dict[str, Tensor]:
        counts = torch.stack([conflicting, compared]).float() @ self._in_stage.T  # of whole numbers, so exact
        return dict(zip(self.stages, counts[0] / counts[1].clamp(min=1), strict=True))

    def _clip(self, gradients: FlatGradients) -> Tensor:
        """Clip the subnets' part; return its norm before."""
        if self.clip_value is None:
            return gradients.norm() if self.clip is None else gradients.clip_(self.clip)
        norm = gradients.norm()
        gradients.clip_values_(self.clip_value)
        if self.clip is not None:
            gradients.clip_(self.clip)
        return norm
