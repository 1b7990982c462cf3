"""The mean of different predictors, each weighted by how well it predicts what it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from predictors.accuracy import Drawing
from predictors.arrays import Codes, Floats, Proxies, as_codes
from predictors.base import CodePredictor, Matrix, TargetKind
from predictors.boosting import Boosting
from predictors.gaussian_process import GaussianProcess
from predictors.mlp import MLP
from predictors.ridge import Ridge
from search_spaces.genome import Genome

KINDS: dict[str, Callable[..., CodePredictor]] = {
    "gaussian_process": GaussianProcess,
    "ridge": Ridge,
    "boosting": Boosting,
    "mlp": MLP,
}
"""The single predictors by name."""

SHARPNESS = 3.0
"""How strongly a member with a larger left-out error loses weight (a power of the mean squared error)."""


class Ensemble(CodePredictor):
    """Weighted mean of several predictors of different kinds; none of them wins everywhere.

    A member's weight falls with the cube of its left-out error, so one that does not fit the space fades out. The
    spread joins what members do not know and how much they disagree.

    Args:
        genome: the decisions that codes index.
        proxies: free features of codes.
        target: "auto" chooses a monotone transform of the scores; "identity" leaves them.
        kinds: names of the members, of :data:`KINDS`.

    Raises:
        ValueError: for an unknown or no member.
    """

    def __init__(
        self,
        genome: Genome,
        proxies: Proxies | None = None,
        *,
        target: TargetKind = "auto",
        kinds: Sequence[str] = ("gaussian_process", "ridge", "boosting"),
    ) -> None:
        super().__init__(genome, proxies, target=target)
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown or not kinds:
            raise ValueError(f"unknown predictors {unknown} in an ensemble; legal: one or more of {', '.join(KINDS)}")
        self.members = {kind: KINDS[kind](genome, proxies, target="identity") for kind in kinds}
        self.weights: NDArray[np.float64] = np.full(len(self.members), 1.0 / len(self.members))
        """Weight of every member, in the order of ``members``; sums to 1."""

    def _learn(self, codes: Codes, outcome: Matrix) -> None:
        for member in self.members.values():
            member.fit(codes, outcome)
        errors = np.array([max(member.left_out_error(), 1e-6) for member in self.members.values()])
        powers = (errors / errors.min()) ** -SHARPNESS
        self.weights = powers / powers.sum()

    def left_out_error(self) -> float:
        """Return the weighted mean of the members' errors (the mean of their predictions is at least as good)."""
        return float(self.weights @ [member.left_out_error() for member in self.members.values()])

    def _latent(self, codes: Codes) -> tuple[Floats, Floats]:
        predicted = [member.predict(codes) for member in self.members.values()]
        means, spreads = np.stack([part[0] for part in predicted]), np.stack([part[1] for part in predicted])
        mean = self.weights @ means
        variance = self.weights @ (spreads**2 + (means - mean) ** 2)
        return mean, np.sqrt(variance)

    def draw(self, codes: ArrayLike, count: int, rng: np.random.Generator) -> Floats:
        """Return ``count`` functions ``(count, n)``: the first member's draws, or independent ones, around the mean."""
        rows = as_codes(codes)
        mean, spread = self._latent(rows)
        first = next(iter(self.members.values()))
        if not isinstance(first, Drawing):
            drawn: Floats = mean + spread * rng.standard_normal((count, len(rows)))
            return drawn
        return mean + (first.draw(rows, count, rng) - first.predict(rows)[0])


def make_predictor(
    name: str, genome: Genome, proxies: Proxies | None = None, *, target: TargetKind = "auto"
) -> CodePredictor:
    """Return an unfitted predictor by name: "ensemble" or one of :data:`KINDS`.

    Raises:
        ValueError: for an unknown name.
    """
    if name == "ensemble":
        return Ensemble(genome, proxies, target=target)
    if name not in KINDS:
        raise ValueError(f"unknown predictor {name!r}; legal: ensemble, {', '.join(KINDS)}")
    return KINDS[name](genome, proxies, target=target)
