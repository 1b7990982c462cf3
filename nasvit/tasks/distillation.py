"""Losses that make a student follow a teacher, finite wherever the logits are.

Every loss here is called as ``loss(student_logits, teacher_logits)`` with logits (B, classes), and gives a scalar, the
mean over the batch. No gradient flows to the teacher. Half-precision logits are computed in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from nasvit.heads.head import at_least_float32
from search_spaces.ranges import Checked, Range, Share

Temperature = Annotated[float, Range(0.001, 1000)]


@dataclass(frozen=True)
class AlphaDivergence:
    """Alpha-divergence between teacher p and student q, with clipped importance ratios.

    With r = p / q the divergence is ``mean over q of f(r)``, ``f(r) = (w - 1) / (alpha (alpha - 1))``, w = r**alpha
    clipped to at most ``clip``. Limits: alpha 1 is the Kullback-Leibler divergence KL(p || q), never clipped; alpha 0
    is KL(q || p) with r itself clipped.

    The value returned is a surrogate that has the gradient of the divergence and not its value: it may be negative, and
    is not 0 where both agree (``divergence`` is the value to log). It is computed from log-probabilities, so that
    underflow of a probability does no harm.

    Args:
        alpha: negative ones punish a student that is sure where the teacher is not, positive ones the reverse.
        clip: largest importance weight, > 0.

    Raises:
        ValueError: if the clip is not positive.

    Source: Wang et al., AlphaNet (ICML 2021), https://arxiv.org/abs/2102.07954, section 4.
    """

    alpha: float
    clip: float = 5.0

    def __post_init__(self) -> None:
        _check_positive("clip", self.clip)

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Mean surrogate over the batch; see the module."""
        return self.surrogate(*_log_probabilities(student_logits, teacher_logits)).mean()

    def divergence(self, log_student: Tensor, log_teacher: Tensor) -> Tensor:
        """Return the divergence of every sample (B,), without gradient.

        Args:
            log_student: log-probabilities (B, classes).
            log_teacher: log-probabilities (B, classes).
        """
        log_q, log_p = log_student.detach(), log_teacher.detach()
        if self.alpha == 1:
            return (log_p.exp() * (log_p - log_q)).sum(dim=1)
        if self.alpha == 0:
            return -(log_q.exp() * self._log_weight(log_q, log_p, 1.0)).sum(dim=1)
        weight = self._log_weight(log_q, log_p, self.alpha).exp()
        return (log_q.exp() * (weight - 1)).sum(dim=1) / (self.alpha * (self.alpha - 1))

    def surrogate(self, log_student: Tensor, log_teacher: Tensor) -> Tensor:
        """Return a value of every sample (B,) with the gradient of the divergence.

        Args:
            log_student: log-probabilities (B, classes), gradient flows through them.
            log_teacher: log-probabilities (B, classes).
        """
        return -(self._gradient_weight(log_student.detach(), log_teacher.detach()) * log_student).sum(dim=1)

    def _gradient_weight(self, log_q: Tensor, log_p: Tensor) -> Tensor:
        if self.alpha == 1:
            return log_p.exp()
        if self.alpha == 0:
            return log_q.exp() * (self._log_weight(log_q, log_p, 1.0) - 1)
        weight = self._log_weight(log_q, log_p, self.alpha).exp()
        return log_q.exp() * (weight / self.alpha + 1 / (self.alpha * (self.alpha - 1)))

    def _log_weight(self, log_q: Tensor, log_p: Tensor, power: float) -> Tensor:
        return (power * (log_p - log_q)).clamp(max=math.log(self.clip))


@dataclass(frozen=True)
class AdaptiveAlphaDivergence:
    """For every sample the larger of two alpha-divergences: the student is punished for what it does worst.

    As for ``AlphaDivergence`` the value is a surrogate for the gradient.

    Args:
        alpha_min: alpha of the first divergence.
        alpha_max: alpha of the second divergence; taken where the two are equal.
        clip: largest importance weight, > 0.

    Raises:
        ValueError: if the clip is not positive or the alphas are not in order.

    Source: Wang et al., AlphaNet (ICML 2021), https://arxiv.org/abs/2102.07954, section 4.
    """

    alpha_min: float = -1.0
    alpha_max: float = 1.0
    clip: float = 5.0

    def __post_init__(self) -> None:
        _check_positive("clip", self.clip)
        if not self.alpha_min < self.alpha_max:
            raise ValueError(f"alpha_min {self.alpha_min} must be below alpha_max {self.alpha_max}")

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Mean surrogate over the batch; see the module."""
        return self.surrogate(*_log_probabilities(student_logits, teacher_logits)).mean()

    def surrogate(self, log_student: Tensor, log_teacher: Tensor) -> Tensor:
        """Return the surrogate of every sample (B,), from log-probabilities (B, classes)."""
        low, high = AlphaDivergence(self.alpha_min, self.clip), AlphaDivergence(self.alpha_max, self.clip)
        low_is_larger = low.divergence(log_student, log_teacher) > high.divergence(log_student, log_teacher)
        return torch.where(
            low_is_larger, low.surrogate(log_student, log_teacher), high.surrogate(log_student, log_teacher)
        )


@dataclass(frozen=True)
class KLDivergence:
    """Kullback-Leibler divergence KL(teacher || student); its gradient is that of cross entropy with soft labels.

    Args:
        temperature: both logits are divided by it, and the loss multiplied by its square to keep the size of gradients.

    Raises:
        ValueError: if the temperature is not positive.

    Source: Hinton et al., Distilling the Knowledge in a Neural Network (2015), section 2,
    https://arxiv.org/abs/1503.02531
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_positive("temperature", self.temperature)

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Mean divergence over the batch; see the module."""
        log_q, log_p = _log_probabilities(student_logits / self.temperature, teacher_logits / self.temperature)
        return F.kl_div(log_q, log_p, log_target=True, reduction="batchmean") * self.temperature**2


def channel_wise(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Return how far maps are from a teacher's: the mean over maps, images and channels of a divergence over positions.

    Every channel becomes a distribution over the positions of its map, by a softmax at temperature 1, and the loss is
    KL(teacher || student) of these. So the positions count that a channel of the teacher's stands out at, the others
    hardly, and no one has to say where objects are.

    Source: Shu et al., Channel-wise Knowledge Distillation for Dense Prediction (ICCV 2021),
    https://arxiv.org/abs/2011.13256

    Args:
        student: maps ``(batch, channels, height, width)``.
        teacher: the teacher's, each of the same shape; no gradient flows to them.

    Raises:
        ValueError: if shapes differ.
    """
    ours, theirs = ([tuple(each.shape[1:]) for each in maps] for maps in (student, teacher))
    if ours != theirs:
        raise ValueError(f"the student's maps have channels, height and width {ours}, the teacher's {theirs}")
    divergence, by_channel = KLDivergence(), (lambda each: each.flatten(2).flatten(0, 1))
    pairs = zip(map(by_channel, student), map(by_channel, teacher), strict=True)
    return torch.stack([divergence(*pair) for pair in pairs]).mean()


@dataclass(frozen=True)
class Distillation(Checked):
    """Loss of a network that learns from labels and from a teacher: ``(1 - alpha) labels + alpha T^2 KL``.

    KL is that of :class:`KLDivergence`, at temperature T and with Hinton's factor T^2, so that ``alpha`` means the
    same at every temperature. The GhostNetV3 paper writes the sum without saying whether it has that factor, and its
    release trains with another loss; at the default temperature of 1 both readings agree.

    Args:
        alpha: share of the teacher, 0 to 1; 0 leaves the labels alone, 1 the teacher.
        temperature: both logits are divided by it.

    Raises:
        ValueError: if a value is out of its range.

    Source: Liu et al., GhostNetV3 (2024), section 4.2, https://arxiv.org/abs/2404.11202; Hinton et al. (2015),
    section 2, https://arxiv.org/abs/1503.02531
    """

    alpha: Share = 0.5
    temperature: Temperature = 1.0

    def __call__(self, label_loss: Tensor, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Return the mean loss over the batch.

        Args:
            label_loss: mean loss against the labels.
            student_logits: (B, classes).
            teacher_logits: (B, classes); no gradient flows to them.
        """
        kl = KLDivergence(self.temperature)(student_logits, teacher_logits)
        return (1 - self.alpha) * label_loss + self.alpha * kl


@dataclass(frozen=True)
class SoftTargetCrossEntropy:
    """Cross entropy with the teacher's probabilities as labels: KL divergence plus the teacher's entropy."""

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Mean loss over the batch; see the module."""
        return self.of_probabilities(student_logits, at_least_float32(teacher_logits.detach()).softmax(dim=1))

    def of_probabilities(self, student_logits: Tensor, probabilities: Tensor) -> Tensor:
        """Mean loss where the teacher's probabilities (B, classes) are known, as from ``teacher_probabilities``."""
        return F.cross_entropy(at_least_float32(student_logits), probabilities.detach())


def teacher_probabilities(logits: Sequence[Tensor], *, temperature: float = 1.0) -> Tensor:
    """Return the mean class probabilities of several teachers.

    Args:
        logits: (B, classes) of every teacher.
        temperature: logits are divided by it; NASViT sharpens its two teachers with 1/5.

    Returns:
        Probabilities (B, classes), without gradient.

    Raises:
        ValueError: if there is no teacher or the temperature is not positive.
    """
    _check_positive("temperature", temperature)
    if not logits:
        raise ValueError("teacher_probabilities needs the logits of one teacher at least")
    return torch.stack([at_least_float32(each.detach() / temperature).softmax(dim=1) for each in logits]).mean(dim=0)


def _log_probabilities(student_logits: Tensor, teacher_logits: Tensor) -> tuple[Tensor, Tensor]:
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student logits {tuple(student_logits.shape)}, teacher logits {tuple(teacher_logits.shape)}: must agree"
        )
    log_q = F.log_softmax(at_least_float32(student_logits), dim=1)
    return log_q, F.log_softmax(at_least_float32(teacher_logits.detach()), dim=1)


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} {value}: must be positive")
