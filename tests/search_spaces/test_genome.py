from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import Gene, Genome

GENOME = Genome(
    (
        Gene("depth", (1, 2, 3)),
        Gene("width", (8, 16)),
        Gene("ratio", (1, 2, 4), when=("depth", (1, 2))),
        Gene("optimizer", ("sgd", "adamw"), ordinal=False, recipe=True),
    )
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@st.composite
def genomes(draw: st.DrawFn) -> Genome:
    cards = draw(st.lists(st.integers(2, 256), min_size=1, max_size=12))
    return Genome(tuple(Gene(f"g{i}", tuple(range(card))) for i, card in enumerate(cards)))


@given(genomes(), st.integers(0, 30), st.integers(0, 9))
def test_a_sample_is_a_legal_population_and_the_seed_decides_it(genome: Genome, n: int, seed: int) -> None:
    population = genome.sample(n, rng(seed))
    genome.check(population)
    assert population.shape == (n, len(genome))
    np.testing.assert_array_equal(population, genome.sample(n, rng(seed)))


def test_every_value_of_every_gene_is_drawn_equally_often() -> None:
    cards = (2, 3, 7, 41, 5, 256, 2, 31, 6)
    genome = Genome(tuple(Gene(f"g{i}", tuple(range(card))) for i, card in enumerate(cards)))
    n = 200_000
    for column, card in zip(genome.sample(n, rng()).T, cards):
        counts = np.bincount(column, minlength=card)
        assert np.sum((counts - n / card) ** 2) / (n / card) < card + 6 * np.sqrt(2 * card)  # chi-squared


def test_genes_that_are_drawn_together_are_independent() -> None:
    pairs = GENOME.sample(60_000, rng())[:, [0, 1, 3]].astype(int) @ [4, 2, 1]
    counts = np.bincount(pairs)
    assert counts.min() > 4_600
    assert counts.max() < 5_400


def test_a_sample_is_stored_column_by_column_and_may_be_longer_than_what_is_drawn_at_once() -> None:
    population = GENOME.sample(70_000, rng())
    assert population.T.flags.c_contiguous
    assert [len(np.unique(column)) for column in population[65_536:].T] == [3, 2, 3, 2]


def test_a_genome_without_genes_has_one_candidate() -> None:
    empty = Genome(())
    assert empty.size == 1
    assert empty.sample(3, rng()).shape == (3, 0)
    assert empty.neighbors(np.empty(0, np.uint8)).shape == (0, 0)


def test_size_counts_every_different_candidate_once() -> None:
    rows = {tuple(row) for row in GENOME.sample(5_000, rng()).tolist()}
    assert len(rows) == GENOME.size == (1 + 3 + 3) * 2 * 2


def test_a_gene_that_does_not_count_is_zero_everywhere() -> None:
    population = GENOME.sample(200, rng())
    off = ~GENOME.active(population)[:, 2]
    np.testing.assert_array_equal(off, population[:, 0] == 0)
    mutated = GENOME.mutate(population, 0.5, rng())
    crossed = GENOME.crossover(population, mutated, rng())
    for result in (population, mutated, crossed, GENOME.neighbors(population[0])):
        np.testing.assert_array_equal(result, GENOME.canonical(result))


@given(genomes(), st.integers(0, 9))
def test_mutation_at_rate_one_changes_every_gene(genome: Genome, seed: int) -> None:
    population = genome.sample(20, rng(seed))
    before = population.copy()
    mutated = genome.mutate(population, 1.0, rng(seed))
    genome.check(mutated)
    assert (mutated != before).all()
    np.testing.assert_array_equal(population, before)
    np.testing.assert_array_equal(genome.mutate(population, 0.0, rng(seed)), before)


def test_mutation_reaches_every_other_value_equally_often() -> None:
    genome = Genome((Gene("g", tuple(range(5))),))
    mutated = genome.mutate(np.full((40_000, 1), 3, np.uint8), 1.0, rng())
    counts = np.bincount(mutated[:, 0], minlength=5)
    assert counts[3] == 0
    assert (np.abs(counts[[0, 1, 2, 4]] - 10_000) < 500).all()


@given(genomes(), st.integers(0, 9))
def test_a_child_has_every_gene_from_one_of_its_parents(genome: Genome, seed: int) -> None:
    first, second = genome.sample(20, rng(seed)), genome.sample(20, rng(seed + 100))
    child = genome.crossover(first, second, rng(seed))
    assert ((child == first) | (child == second)).all()
    np.testing.assert_array_equal(genome.crossover(first, first, rng(seed)), first)


@given(genomes(), st.integers(0, 9))
def test_one_hot_marks_the_chosen_value_of_every_gene(genome: Genome, seed: int) -> None:
    population = genome.sample(10, rng(seed))
    encoded = genome.one_hot(population)
    assert encoded.shape == (10, genome.cards.sum())
    blocks = np.split(encoded, np.cumsum(genome.cards)[:-1], axis=1)
    for column, block in zip(population.T, blocks):
        np.testing.assert_array_equal(block.argmax(axis=1), column)
        np.testing.assert_array_equal(block.sum(axis=1), 1)


def test_neighbors_are_all_one_gene_changes() -> None:
    near = GENOME.neighbors(np.array([1, 0, 2, 1], np.uint8))
    assert len({tuple(row) for row in near.tolist()}) == len(near) == 2 + 1 + 2 + 1
    only_depth_counts = GENOME.neighbors(np.array([0, 0, 0, 0], np.uint8))
    assert len(only_depth_counts) == 2 + 1 + 1


def test_genomes_add_up_and_remember_which_genes_are_recipe() -> None:
    both = Genome(GENOME.genes[:3]) + Genome(GENOME.genes[3:])
    assert both == GENOME
    assert both.recipe.tolist() == [False, False, False, True]
    assert both.ordinal.tolist() == [True, True, True, False]
    assert both.column("width") == 1


@pytest.mark.parametrize(
    ("population", "message"),
    [
        (np.zeros((1, 3), np.uint8), r"uint8 matrix of shape \(candidates, 4\)"),
        (np.zeros((1, 4), np.int64), "int64"),
        (np.array([[0, 0, 0, 0], [0, 2, 0, 0]], np.uint8), r"row 1: gene 'width' has index 2; legal: 0 to 1"),
    ],
)
def test_what_is_no_population_is_refused_in_words(population: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GENOME.check(population)


def test_impossible_genes_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="'g' has 1 values; legal: 2 to 256"):
        Gene("g", (1,))
    with pytest.raises(ValueError, match="twice"):
        Gene("g", (1, 1))
    with pytest.raises(ValueError, match="names must differ"):
        Genome((Gene("g", (1, 2)), Gene("g", (1, 2))))
    with pytest.raises(ValueError, match="depends on 'nothing'"):
        Genome((Gene("g", (1, 2), when=("nothing", (0,))),))
    with pytest.raises(ValueError, match="no gene is called 'height'"):
        GENOME.column("height")
    with pytest.raises(ValueError, match="mutation rate 1.5"):
        GENOME.mutate(GENOME.sample(1, rng()), 1.5, rng())
    with pytest.raises(ValueError, match="parents must pair up"):
        GENOME.crossover(GENOME.sample(1, rng()), GENOME.sample(2, rng()), rng())
