from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import Architecture, Space, load, names
from tests.shared import SHARED, needs_shared

SPACES = {name: load(name) for name in names()}

spaces = st.sampled_from(sorted(SPACES)).map(SPACES.__getitem__)
seeds = st.integers(0, 2**32 - 1)


@given(spaces, seeds)
def test_decoding_and_encoding_are_inverse(space: Space, seed: int) -> None:
    population = space.genome.sample(8, np.random.default_rng(seed))
    architectures = space.decode(population)
    np.testing.assert_array_equal(space.encode(architectures), population)
    for architecture in architectures:
        space.check(architecture)


@given(spaces, seeds)
def test_json_round_trips_and_keeps_the_key(space: Space, seed: int) -> None:
    architecture = space.sample(np.random.default_rng(seed))
    again = Architecture.from_json(architecture.to_json())
    assert again == architecture
    assert again.key == architecture.key
    assert space.architecture(json.loads(architecture.to_json())) == architecture


@given(spaces, seeds)
def test_mutants_and_children_stay_in_the_space(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = space.genome.sample(4, rng), space.genome.sample(4, rng)
    for population in (space.genome.mutate(first, 0.3, rng), space.genome.crossover(first, second, rng)):
        np.testing.assert_array_equal(space.encode(space.decode(population)), population)


@given(spaces, seeds)
def test_restricting_to_an_architecture_leaves_only_that_one(space: Space, seed: int) -> None:
    architecture = space.sample(np.random.default_rng(seed))
    assert space.restrict(architecture).largest == architecture
    assert space.restrict(architecture).size == 1


@given(spaces)
def test_a_space_pickles_and_hashes(space: Space) -> None:
    assert pickle.loads(pickle.dumps(space)) == space
    assert hash(space) == hash(pickle.loads(pickle.dumps(space)))


def test_the_catalog_calls_every_space_by_its_file_name() -> None:
    assert {
        "nasvit",
        "nasvit_release",
        "alphanet",
        "attentive_nas",
        "micro8",
        "micro32",
        "micro128",
        "ghost_micro32",
    } <= set(SPACES)
    for name, space in SPACES.items():
        assert space.name == name
        space.check(space.smallest)
        space.check(space.largest)


def test_the_published_spaces_have_the_published_sizes() -> None:
    assert SPACES["nasvit_release"].size == 48_157_949_952
    assert SPACES["alphanet"].size == SPACES["attentive_nas"].size == 4 * 1536 * 6912 * 128 * 81


@pytest.mark.parametrize("name", ["nasvit", "nasvit_release", "micro8", "micro32", "micro128"])
def test_hybrid_spaces_have_convolution_and_transformer_stages(name: str) -> None:
    blocks = {stage.block for stage in SPACES[name].stages}
    assert blocks == {"mbconv", "hybrid"}


def test_windows_are_searched_in_the_first_transformer_stage_of_nasvit_only() -> None:
    assert [stage.windows for stage in SPACES["nasvit"].stages[3:]] == [(1, 2), (1,), (1,), (1,)]


@needs_shared
@pytest.mark.parametrize(("folder", "name"), [("nasvit", "nasvit_release"), ("alphanet", "alphanet")])
def test_every_reference_architecture_is_in_its_space(folder: str, name: str) -> None:
    cases = json.loads((SHARED / "golden" / folder / "cases_public.json").read_text(encoding="utf-8"))["cases"]
    space = SPACES[name]
    for case in cases:
        architecture = space.architecture(case["config"])
        assert space.decode(space.encode([architecture])) == [architecture]
    by_name = {case["name"]: space.architecture(case["config"]) for case in cases}
    if "p00_min" in by_name:
        assert by_name["p00_min"] == space.smallest
    if "alphanet_a0" in by_name:
        assert by_name["alphanet_a0"] == space.smallest
