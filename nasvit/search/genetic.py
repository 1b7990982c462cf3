"""Refinement of candidates by an adaptive genetic algorithm that only asks a predictor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from predictors.arrays import Codes, Floats
from predictors.pool import Constraint, distinct

Score = Callable[[Codes], Floats]


def evolve(
    constraint: Constraint,
    parents: Codes,
    score: Score,
    rng: np.random.Generator,
    *,
    population: int = 64,
    children: int = 512,
    generations: int = 20,
    patience: int = 3,
) -> Codes:
    """Return the best ``population`` feasible candidates found, best predicted first.

    Each generation keeps the best of parents and children. A child is a crossover or a mutation of parents drawn by
    rank; mutation is adaptive: the worse its parent, the more genes change. Infeasible children are repaired, and
    dropped where that fails. It ends after ``generations``, or ``patience`` of them without a better best.

    Args:
        constraint: genome, limits and canonical form.
        parents: first generation, feasible, ``(n, d)``, n >= 1.
        score: predicted score of codes ``(m, d)``, ``(m,)``; higher is better.
        rng: source of randomness.
        population: candidates kept.
        children: candidates made in a generation.
        generations: upper bound.
        patience: generations without progress before it stops.

    Source: Srinivas and Patnaik, Adaptive probabilities of crossover and mutation in genetic algorithms (1994);
    Dai et al., FBNetV3 (2021), section 3.3, https://arxiv.org/abs/2006.02049
    """
    alive, values = _keep(parents, np.asarray(score(parents)), population)
    stale = 0
    for _ in range(generations):
        offspring = constraint.clean(constraint.repair(breed(constraint, alive, children, rng), rng, rounds=50))
        best = values[0]
        if len(offspring):
            pooled = np.concatenate([alive, offspring])
            alive, values = _keep(pooled, np.concatenate([values, np.asarray(score(offspring))]), population)
        stale = 0 if values[0] > best else stale + 1
        if stale >= patience:
            break
    return alive


def breed(constraint: Constraint, ranked: Codes, count: int, rng: np.random.Generator) -> Codes:
    """Return ``count`` children of ``ranked`` (best first): half mutations, half mutated crossovers."""
    genome = constraint.genome
    first, second = _draw_by_rank(len(ranked), count, rng), _draw_by_rank(len(ranked), count, rng)
    mixed = genome.crossover(ranked[first], ranked[second], rng)
    crossed = rng.random(count) < 0.5
    children = np.where(crossed[:, None], mixed, ranked[first])
    # The best parent changes one gene on average, the worst four; at least one gene of a plain mutation changes.
    expected = 1.0 + 3.0 * first / max(len(ranked) - 1, 1)
    rate = np.where(crossed, 0.5, expected)[:, None] / len(genome)
    changed = rng.random(children.shape) < rate
    changed[np.arange(count), rng.integers(0, len(genome), count)] |= ~crossed
    shifted = (children + rng.integers(1, genome.cards, children.shape)) % genome.cards
    return genome.canonical(np.where(changed, shifted, children).astype(np.uint8))


def _draw_by_rank(size: int, count: int, rng: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return indices into a ranking; the density falls linearly from the best to nothing."""
    return (size * (1.0 - np.sqrt(rng.random(count)))).astype(np.int64)


def _keep(codes: Codes, values: Floats, count: int) -> tuple[Codes, Floats]:
    order = np.argsort(-values, kind="stable")
    ranked = distinct(codes[order])[:count]
    if len(ranked) == len(codes):
        return codes[order], values[order]
    kept, seen = [], set()
    for index in order:
        row = codes[index].tobytes()
        if row not in seen:
            seen.add(row)
            kept.append(index)
        if len(kept) == count:
            break
    return codes[kept], values[kept]
