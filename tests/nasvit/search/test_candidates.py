from __future__ import annotations

import numpy as np
import pytest

import search_spaces
from nasvit.costs.tables import cost_table
from nasvit.search.candidates import Candidate, Candidates
from predictors.limits import parse_limits
from search_spaces.recipe_space import load_recipes

SPACE = search_spaces.load("micro8")
RECIPES = load_recipes("finetune_small")
TABLE = cost_table(SPACE, 10)


def make(joint: bool = True, fixed: bool = False) -> Candidates:
    return Candidates(SPACE, TABLE.costs, RECIPES if joint else None, SPACE.smallest if fixed else None)


@pytest.mark.parametrize("kind", [{"joint": True}, {"joint": False}, {"joint": True, "fixed": True}])
def test_candidates_come_back_from_their_codes(kind: dict[str, bool]) -> None:
    candidates = make(**kind)
    codes = candidates.genome.sample(50, np.random.default_rng(0))
    np.testing.assert_array_equal(candidates.encode(candidates.decode(codes)), codes)


def test_a_joint_candidate_has_the_genes_of_both() -> None:
    candidates = make()
    assert candidates.genome.names == SPACE.genome.names + RECIPES.genome.names
    row = np.concatenate([SPACE.encode([SPACE.largest]), RECIPES.genome.sample(1, np.random.default_rng(0))], axis=1)
    assert candidates.decode(row)[0].architecture == SPACE.largest


def test_the_recipe_costs_nothing_and_the_limits_hold_for_what_is_sampled() -> None:
    candidates = make()
    found = candidates.constraint(parse_limits(["macs<=250K"])).sample(64, np.random.default_rng(0))
    macs = TABLE.macs(np.ascontiguousarray(found[:, : len(SPACE.genome)]))
    np.testing.assert_array_equal(candidates.costs(found)["macs"], macs)
    assert len(found) == 64
    assert macs.max() <= 250_000


def test_a_fixed_architecture_leaves_the_recipe_alone_to_search() -> None:
    candidates = make(fixed=True)
    assert candidates.genome.recipe.all()
    assert {each.architecture for each in candidates.decode(candidates.genome.sample(9, np.random.default_rng(0)))} == {
        SPACE.smallest
    }


def test_equal_candidates_and_only_they_share_a_key() -> None:
    recipe, other = RECIPES.decode(RECIPES.genome.sample(2, np.random.default_rng(0)))
    assert Candidate(SPACE.smallest, recipe).key == Candidate(SPACE.smallest, recipe).key
    keys = {Candidate(SPACE.smallest, recipe).key, Candidate(SPACE.smallest, other).key, Candidate(SPACE.smallest).key}
    assert len(keys) == 3


def test_nothing_to_decide_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to search: architecture and recipe are both fixed"):
        make(joint=False, fixed=True)
