"""FBNetV3's predictor: an architecture encoder pretrained on free proxies, and a head that adds the recipe."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from predictors.arrays import Codes, Floats, Proxies
from predictors.base import CodePredictor, Matrix, TargetKind
from predictors.features import one_hot
from search_spaces.genome import Genome

Weights = dict[str, NDArray[np.float32]]


class MLP(CodePredictor):
    """An ensemble of small networks, trained together as one batched network.

    The encoder reads the architecture genes and is first trained to tell the proxies (which cost nothing) of random
    architectures. The head reads the encoder's output, the proxies and the recipe genes. The head is trained alone
    first, then everything, with the Huber loss. Each member leaves out another part of the candidates; the number of
    steps is the one at which members best predict what they left out, so noisy scores stop the training early.

    Args:
        genome: the decisions; ``genome.recipe`` says which genes are the recipe.
        proxies: free features; they pretrain the encoder. None: the encoder starts fresh.
        target: "auto" chooses a monotone transform of the scores; "identity" leaves them.
        members: networks averaged.
        width: neurons of each of the encoder's two layers.
        head_width: neurons of the head's one hidden layer; None: ``width``.
        steps: upper bound of full-training steps; the head alone takes a fifth of them first.
        learning_rate: of Adam.
        pretraining: random architectures whose proxies the encoder learns.
        seed: of initial weights, parts left out, and pretraining samples.

    Source: Dai et al., FBNetV3 (2021), section 3, https://arxiv.org/abs/2006.02049 (sizes, rates, the ensemble and
    the choice of steps are this project's: the paper's could not be verified)
    """

    def __init__(
        self,
        genome: Genome,
        proxies: Proxies | None = None,
        *,
        target: TargetKind = "auto",
        members: int = 8,
        width: int = 64,
        head_width: int | None = None,
        steps: int = 200,
        learning_rate: float = 0.005,
        pretraining: int = 2000,
        seed: int = 0,
    ) -> None:
        super().__init__(genome, proxies, target=target)
        self.members = members
        self.width = width
        self.head_width = head_width or width
        self.steps = steps
        self.learning_rate = learning_rate
        self.pretraining = pretraining
        self.seed = seed
        self.chosen_steps = 0
        """Full-training steps after which the left-out candidates were predicted best."""
        self._encoder: Weights | None = None

    def _learn(self, codes: Codes, outcome: Matrix) -> None:
        from predictors import mlp_training

        inputs = mlp_training.Inputs(*self._inputs(codes, fit=True))
        if self._encoder is None:
            self._encoder = self._pretrained()
        fold = np.random.default_rng(self.seed).permutation(len(codes)) % max(self.members, 2)
        # With fewer candidates than members nothing is left out, and training takes all its steps.
        left_out = (fold[None] == np.arange(self.members)[:, None]) & (len(codes) > self.members > 1)
        trained = mlp_training.train(
            inputs,
            outcome.astype(np.float32),
            left_out,
            self._encoder,
            steps=self.steps,
            learning_rate=self.learning_rate,
            head_width=self.head_width,
            seed=self.seed,
        )
        self._model, self.chosen_steps, self._error = trained.weights, trained.steps, trained.left_out_error

    def left_out_error(self) -> float:
        """Return the mean squared error of every candidate by the member that did not see it."""
        return self._error

    def _inputs(self, codes: Codes, fit: bool = False) -> tuple[Floats, Floats, Floats]:
        """Return one-hot architecture, one-hot recipe and standardized proxies."""
        recipe, cards = self.genome.recipe, self.genome.cards
        free = self.proxies.fit(codes) if fit else self.proxies.apply(codes)
        architecture = one_hot(cards[~recipe], codes[:, ~recipe], np.float32)
        # Far outside of what was seen, a proxy must not carry the prediction away.
        free = np.clip(free, -4, 4)
        return architecture, one_hot(cards[recipe], codes[:, recipe], np.float32), free.astype(np.float32)

    def _pretrained(self) -> Weights:
        """Return encoder weights trained on the proxies of random architectures, or fresh ones without proxies."""
        from predictors import mlp_training

        rng = np.random.default_rng(self.seed)
        codes = self.genome.sample(self.pretraining, rng)
        free = self.proxies.raw(codes)
        known = np.isfinite(free).all(axis=1)
        architecture = one_hot(self.genome.cards[~self.genome.recipe], codes[:, ~self.genome.recipe], np.float32)
        free, architecture = free[known], architecture[known]
        spread = free.std(axis=0) if len(free) else np.zeros(0)
        varied = spread > 1e-9
        wanted = ((free - free.mean(axis=0)) / np.where(varied, spread, 1.0))[:, varied] if len(free) else free
        return mlp_training.pretrain(
            architecture, wanted.astype(np.float32), members=self.members, width=self.width, seed=self.seed
        )

    def _latent(self, codes: Codes) -> tuple[Floats, Floats]:
        from predictors import mlp_training

        predicted = mlp_training.run(self._model, mlp_training.Inputs(*self._inputs(codes)))
        return predicted.mean(axis=0), predicted.std(axis=0) + 1e-6
