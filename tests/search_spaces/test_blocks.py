"""The table of which blocks a stage is made of decides what is searched and what a block costs by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import search_spaces
from predictors.blocks import blocks_of, unique_blocks
from search_spaces.blocks import BLOCK_FIELDS, STAGE_BLOCKS

TEXT = """
name: mixed
source: a test
resolution: 8
stem: {width: 8}
stages:
  - {name: whole, block: mlps, width: 8, depth: [1, 2], kernel_size: 3, expand_ratio: 1, stride: 1, mlp_ratio: [1, 2]}
  - {name: later, block: late, width: 8, depth: [1, 2], kernel_size: 3, expand_ratio: 1, stride: 1, mlp_ratio: [1, 2]}
  - {name: none, block: mbconv, width: 8, depth: 1, kernel_size: 3, expand_ratio: 1, stride: 1}
head: {width: 16}
"""


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> search_spaces.Space:
    """Stages whose every block, whose later blocks, and of which no block is sized by an MLP ratio."""
    monkeypatch.setitem(BLOCK_FIELDS, "mlp", ("mlp_ratio",))
    monkeypatch.setitem(STAGE_BLOCKS, "mlps", ("mlp", "mlp"))
    monkeypatch.setitem(STAGE_BLOCKS, "late", ("mbconv", "mlp"))
    (tmp_path / "mixed.yaml").write_text(TEXT)
    return search_spaces.load(tmp_path / "mixed.yaml")


def test_a_size_is_searched_where_a_block_of_the_stage_has_it(space: search_spaces.Space) -> None:
    assert space.genome.names == ("depth.whole", "depth.later", "mlp_ratio.whole", "mlp_ratio.later")
    assert space.smallest.mlp_ratio == (1, None, None)
    assert space.largest.mlp_ratio == (2, 2, None)
    assert space.size == 2 * 2 * (1 + 2)
    subnets = space.decode(space.genome.sample(200, np.random.default_rng(0)))
    assert len(set(subnets)) == space.size
    assert space.decode(space.encode(subnets)) == subnets


def test_a_block_costs_by_the_sizes_that_its_kind_has(space: search_spaces.Space) -> None:
    _, whole, later, _, _ = blocks_of(space, space.largest)
    assert [(key.kind, key.mlp_ratio, key.kernel_size, times) for key, times in whole] == [("mlp", 2, None, 1)] * 2
    assert [(key.kind, key.mlp_ratio, key.kernel_size) for key, _ in later] == [("mbconv", None, 3), ("mlp", 2, None)]
    kinds = [key.kind for key in unique_blocks(space)]
    assert kinds == ["stem", "mlp", "mlp", "mbconv", "head"]


@pytest.mark.usefixtures("space")
def test_a_size_that_no_block_has_is_refused_with_those_that_have_it(tmp_path: Path) -> None:
    (tmp_path / "mixed.yaml").write_text(TEXT.replace("block: late", "block: ghost"))
    legal = 'belongs to transformer and mlp blocks; legal: only where block is "hybrid" or "mlps" or "late"'
    with pytest.raises(ValueError, match=rf"mixed\.yaml:8: stages\[1\]\.mlp_ratio: {legal}"):
        search_spaces.load(tmp_path / "mixed.yaml")


def test_blocks_of_a_subnet_are_among_those_of_its_space() -> None:
    for name in search_spaces.names():
        space = search_spaces.load(name)
        listed = set(unique_blocks(space))
        for architecture in (space.smallest, space.largest):
            parts = blocks_of(space, architecture)
            assert [sum(times for _, times in part) for part in parts] == [1, *architecture.depth, 1]
            assert {key for part in parts for key, _ in part} <= listed
