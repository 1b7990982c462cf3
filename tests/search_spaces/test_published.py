"""The published subnets."""

from __future__ import annotations

from pathlib import Path

import pytest

import search_spaces
from search_spaces.published import Published, load, names, path_of
from search_spaces.reading import load_yaml


@pytest.mark.parametrize("name", names())
def test_every_published_network_is_complete_and_named_as_its_file(name: str) -> None:
    published = load(name)
    assert published.name == name
    assert published.source and published.printed.macs and published.printed.top1 and published.counted
    if published.space is not None:
        search_spaces.load(published.space).check(published.architecture)


@pytest.mark.parametrize("name", names())
def test_our_count_is_within_one_percent_of_the_printed_one(name: str) -> None:
    published = load(name)
    assert published.counted is not None and published.printed.macs is not None
    assert abs(published.counted.macs / 1e6 / published.printed.macs - 1) < 0.01


def test_architectures_that_do_not_reproduce_their_published_cost_are_not_listed() -> None:
    assert not [name for name in names() if name.startswith("nasvit_a")]


def test_an_unknown_name_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"no published network is called 'alphanet_a9'; did you mean 'alphanet_a"):
        path_of("alphanet_a9")


def test_a_file_that_is_neither_a_subnet_nor_a_plain_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("name: x\nsource: me\nprinted: {macs: 1}\nspace: alphanet\nnetwork: fbnetv3_a\n")
    with pytest.raises(ValueError, match=r"x\.yaml:1: legal: either space and subnet, or network and resolution"):
        load_yaml(Published, path)


def test_a_plain_network_has_no_architecture() -> None:
    with pytest.raises(ValueError, match="fbnetv3_a is the plain network"):
        _ = load("fbnetv3_a").architecture
