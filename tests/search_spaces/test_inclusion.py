"""Rows of a space with fewer choices as rows of the space that it was cut from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import Space, load
from search_spaces.inclusion import Inclusion

NAMES = ("micro8", "nasvit", "ghost_micro32")


@st.composite
def cuts(draw: st.DrawFn) -> tuple[Space, Space]:
    """A space and a cut of it; gaps in the middle of a list are fine."""
    space = load(draw(st.sampled_from(NAMES)))
    left: dict[str, Any] = {
        gene.name: sorted(draw(st.sets(st.sampled_from(gene.values), min_size=1))) for gene in space.genome.genes
    }
    return space, space.cut(left)


@given(cuts())
@settings(max_examples=60, deadline=None)
def test_the_rows_of_a_cut_space_are_those_of_the_same_architectures_in_the_whole_one(cut: tuple[Space, Space]) -> None:
    whole, inner = cut
    rows = inner.genome.sample(50, np.random.default_rng(0))
    found = Inclusion(inner, whole)(rows)
    assert whole.decode(found) == inner.decode(rows)
    np.testing.assert_array_equal(found, whole.encode(inner.decode(rows)))


@pytest.mark.parametrize("name", NAMES)
def test_the_rows_of_the_whole_space_stay_as_they_are(name: str) -> None:
    space = load(name)
    rows = space.genome.sample(5, np.random.default_rng(0))
    assert Inclusion(space, space)(rows) is rows
