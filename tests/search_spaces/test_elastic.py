"""Spaces of networks that were made elastic."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from search_spaces import ElasticArchitecture, ElasticSpace
from search_spaces.elastic import Part
from search_spaces.inclusion import Inclusion

SPACE = ElasticSpace(
    "small",
    (32, 48),
    (
        Part("depth", "blocks", (1, 2, 3)),
        Part("width", "stem", (8, 16, 32)),
        Part("width", "blocks.0.hidden", (4, 8)),
        Part("width", "blocks.1.hidden", (4, 8), ("blocks", 1)),
        Part("width", "blocks.2.hidden", (2, 4, 6), ("blocks", 2)),
        Part("kernel_size", "blocks.2.conv", (3, 5, 7), ("blocks", 2)),
        Part("width", "head", (64,)),
    ),
)


def test_the_size_counts_only_parts_that_are_there() -> None:
    everywhere = 2 * 3 * 2
    assert SPACE.size == everywhere * (1 + 2 + 2 * 3 * 3)


def test_every_architecture_goes_through_rows_and_json_and_back() -> None:
    rows = SPACE.genome.sample(300, np.random.default_rng(0))
    architectures = SPACE.decode(rows)
    assert np.array_equal(SPACE.encode(architectures), SPACE.canonical(rows))
    for architecture in architectures:
        assert ElasticArchitecture.from_json(architecture.to_json()) == architecture
        assert SPACE.architecture(json.loads(architecture.to_json())) == architecture
    assert len({each.key for each in architectures}) == len(set(architectures))


def test_an_architecture_has_no_entries_of_blocks_that_are_left_out() -> None:
    shallow = SPACE.architecture(depth={"blocks": 2})
    assert dict(shallow.width) == {"stem": 32, "blocks.0.hidden": 8, "blocks.1.hidden": 8, "head": 64}
    assert shallow.kernel_size == ()
    assert SPACE.smallest.kernel_size == ()
    assert dict(SPACE.largest.kernel_size) == {"blocks.2.conv": 7}


def test_equal_rows_are_equal_architectures_whatever_stands_in_genes_that_do_not_count() -> None:
    row = SPACE.encode([SPACE.smallest])
    other = row.copy()
    other[0, SPACE.genome.column("width.blocks.2.hidden")] = 2
    assert SPACE.decode(other) == SPACE.decode(row) == [SPACE.smallest]


def test_a_scaled_subnet_is_narrower_and_nothing_else() -> None:
    half = SPACE.scaled(0.5)
    assert dict(half.width) == {
        "stem": 16, "blocks.0.hidden": 4, "blocks.1.hidden": 4, "blocks.2.hidden": 2, "head": 64
    }  # fmt: skip
    assert (half.depth, half.kernel_size, half.resolution) == (
        SPACE.largest.depth,
        SPACE.largest.kernel_size,
        SPACE.largest.resolution,
    )


def test_a_cut_space_holds_what_is_left_and_its_rows_are_rows_of_the_whole() -> None:
    cut = SPACE.cut({"depth.blocks": [1, 2], "width.stem": [8, 32]})
    assert cut.size == 2 * 2 * 2 * (1 + 2)
    rows = cut.genome.sample(50, np.random.default_rng(0))
    included = Inclusion(cut, SPACE)(rows)
    assert SPACE.decode(included) == cut.decode(rows)


def test_a_restricted_space_holds_one_architecture() -> None:
    architecture = SPACE.sample(np.random.default_rng(3))
    only = SPACE.restrict(architecture)
    assert only.size == 1
    assert only.largest == architecture


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"width": {"stem": 9}}, "width.stem is 9; space 'small' holds: 8, 16, 32"),
        ({"width": {"stam": 8}}, "width.stam is no decision of space 'small'; legal: resolution, depth.blocks"),
        ({"resolution": 40}, "resolution is 40; space 'small' holds: 32, 48"),
        ({"depth": {"blocks": 1}, "width": {"blocks.1.hidden": 4}}, "is 4, but that block is left out"),
        ({"depth": {"blocks": 0}}, "depth.blocks: 0 is illegal; legal: whole numbers from 1"),
        ({"widths": {}}, "has no field 'widths'; legal: resolution, width, depth, kernel_size"),
        ({"width": [8]}, "width: is not a mapping from parts to numbers"),
    ],
)
def test_what_the_space_does_not_hold_is_refused_in_words(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        SPACE.architecture(fields)


def test_an_architecture_that_lacks_a_part_is_refused() -> None:
    with pytest.raises(ValueError, match="width.stem is missing"):
        SPACE.check(ElasticArchitecture(32, depth=(("blocks", 1),), width=(("blocks.0.hidden", 4), ("head", 64))))


def test_parts_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="two parts are called width.a"):
        ElasticSpace("twice", (32,), (Part("width", "a", (1, 2)), Part("width", "a", (1, 2))))
    with pytest.raises(ValueError, match="is in a block of 'b', which is no run of blocks"):
        ElasticSpace("no run", (32,), (Part("width", "a", (1, 2), ("b", 1)),))
    with pytest.raises(ValueError, match="width.a"):
        Part("width", "a", (2, 1))
