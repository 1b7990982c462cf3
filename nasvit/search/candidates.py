"""What a search decides: an architecture, a recipe, or both, as rows of one genome."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.arrays import Codes, Floats
from predictors.limits import Limit, violation
from predictors.pool import Constraint
from search_spaces import SearchSpace, Subnet
from search_spaces.genome import Genome
from search_spaces.recipe import Recipe
from search_spaces.recipe_space import RecipeSpace

Costs = dict[str, NDArray[Any]]
"""Metric -> values, ``(n,)``."""


@dataclass(frozen=True)
class Candidate:
    """What is evaluated.

    Args:
        architecture: the subnet.
        recipe: how it is trained; None where the search decides no recipe.
    """

    architecture: Subnet
    recipe: Recipe | None = None

    @property
    def key(self) -> str:
        """A text equal exactly for equal candidates: for file names and journals."""
        return self.architecture.key if self.recipe is None else f"{self.architecture.key}-{self.recipe.key}"

    def to_json(self) -> dict[str, Any]:
        """The candidate as plain JSON values; without a recipe there is no ``recipe``."""
        plain = {"architecture": json.loads(self.architecture.to_json())}
        return plain if self.recipe is None else plain | {"recipe": json.loads(self.recipe.to_json())}


class Candidates:
    """All candidates of a search: a space of architectures, of recipes, or of both together.

    Source: FBNetV3 (Dai et al., 2021), section 3, https://arxiv.org/abs/2006.02049, for searching both together.

    Args:
        space: architectures.
        costs: what architectures cost, from their codes.
        recipes: recipes; None: the search decides architectures only.
        architecture: the only architecture; None: the search decides it too.

    Raises:
        ValueError: if nothing is left to decide, or the architecture is not in the space.
    """

    def __init__(
        self,
        space: SearchSpace,
        costs: Callable[[Codes], Costs],
        recipes: RecipeSpace | None = None,
        architecture: Subnet | None = None,
    ) -> None:
        self.space, self.recipes, self.architecture = space, recipes, architecture
        self._costs = costs
        self._fixed = None if architecture is None else space.encode([architecture])
        if not len(self.genome):
            raise ValueError("there is nothing to search: architecture and recipe are both fixed")

    @cached_property
    def genome(self) -> Genome:
        """The decisions: those of the architecture, if it is searched, then those of the recipe."""
        architectures = self.space.genome if self._fixed is None else Genome(())
        return architectures if self.recipes is None else architectures + self.recipes.genome

    @property
    def smallest_and_largest(self) -> Codes:
        """The two ends of the space of architectures, with the first values of a recipe, ``(2, genes)``."""
        ends = self.space.encode([self.space.smallest, self.space.largest])
        codes = np.zeros((2, len(self.genome)), dtype=np.uint8)
        codes[:, : self._architecture_genes] = ends[:, : self._architecture_genes]
        return codes

    def decode(self, codes: Codes) -> list[Candidate]:
        """Return the candidate of every row."""
        architectures = self.space.decode(self._architecture_codes(codes))
        if self.recipes is None:
            return [Candidate(architecture) for architecture in architectures]
        recipes = self.recipes.decode(codes[:, self._architecture_genes :])
        return [Candidate(*pair) for pair in zip(architectures, recipes, strict=True)]

    def encode(self, candidates: Sequence[Candidate]) -> Codes:
        """Return candidates as canonical rows.

        Raises:
            ValueError: if one is not among these candidates.
        """
        codes = np.zeros((len(candidates), len(self.genome)), dtype=np.uint8)
        if self._fixed is None:
            codes[:, : self._architecture_genes] = self.space.encode([each.architecture for each in candidates])
        if self.recipes is not None:
            recipes = [each.recipe for each in candidates if each.recipe is not None]
            codes[:, self._architecture_genes :] = self.recipes.encode(recipes)
        return codes

    def costs(self, codes: Codes) -> Costs:
        """Return what the rows cost: metric -> values ``(n,)``."""
        return self._costs(self._architecture_codes(codes))

    def proxies(self, codes: Codes) -> Floats:
        """Return what is known for free of every row: logarithms of its costs, ``(n, metrics)``."""
        costs = self.costs(codes)
        return np.log(np.stack([costs["macs"], costs["params"]], axis=1))

    def constraint(self, limits: Sequence[Limit]) -> Constraint:
        """Return which candidates keep within ``limits``."""
        if self._fixed is not None or not limits:
            return Constraint(self.genome, canonical=self.genome.canonical)
        return Constraint(
            self.genome,
            violation=lambda codes: violation(self.costs(codes), limits),
            canonical=self.genome.canonical,
            anchors=self.smallest_and_largest,
        )

    @cached_property
    def _architecture_genes(self) -> int:
        """Columns that belong to the architecture; they come first."""
        return len(self.space.genome) if self._fixed is None else 0

    def _architecture_codes(self, codes: Codes) -> Codes:
        if self._fixed is not None:
            return np.repeat(self._fixed, len(codes), axis=0)
        return np.ascontiguousarray(codes[:, : self._architecture_genes])
