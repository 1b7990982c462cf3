"""Networks of every kind are elastic where they can be, and never wrong."""

from __future__ import annotations

import pytest
from torch import nn

from tests.nasvit.any_network import networks
from tests.nasvit.any_network.oracle import check, made_elastic, widths

MIDDLES = {
    "residual": nn.Sequential(*(networks.Residual(8, 6) for _ in range(3))),
    "shuffle": networks.Shuffle(),
    "halves": nn.Sequential(networks.Halves(), networks.Halves()),
    "written": networks.Written(),
    "filled": networks.Filled(),
    "grouped": networks.Grouped(),
    "unet": networks.UNet(),
    "pixel shuffle": networks.PixelShuffled(),
    "gated": networks.Gated(),
    "einsum": networks.Einsum(),
    "twice": networks.Twice(),
    "checkpoint": networks.Checkpointed(),
    "own gradient": networks.OwnGradient(),
    "table": networks.Looked(),
    "constant": networks.Constant(),
    "branching": networks.Branching(),
    "lstm": networks.Recurrent(),
    "gru": networks.Recurrent(nn.GRU),
    "attention": networks.Attending(),
}
OUT = {"shuffle": 6}


@pytest.mark.parametrize("name", MIDDLES)
def test_leaving_channels_out_is_making_them_zero(name):
    check(made_elastic(networks.Classifying(MIDDLES[name], out=OUT.get(name)), 3, 8, 8))


def test_norms_over_channels_follow_them():
    check(made_elastic(networks.Classifying(networks.OverWholeMaps()), 3, 8, 8), zeroing=False)


def test_a_network_that_returns_a_dictionary_of_lists_keeps_what_it_returns():
    elastic = made_elastic(networks.Returning(), 3, 8, 8)
    assert widths(elastic) == {"stem.0": 8, "inner.0": 6}
    check(elastic)


def test_a_network_of_double_precision_is_elastic():
    check(made_elastic(networks.Classifying(networks.Residual(8, 6)).double(), 3, 8, 8))
