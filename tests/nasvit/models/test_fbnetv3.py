"""FBNetV3 as plain networks, and its weights to and from timm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch

from nasvit.costs.counting import Cost, count_on_meta
from nasvit.costs.tables import cost_table
from nasvit.importing import import_tensors, released_layout
from nasvit.importing.fbnetv3 import TIMM, to_timm
from nasvit.models.fbnetv3 import DESIGNS, FEATURES, fbnetv3
from nasvit.supernets.supernet import build_subnet
from search_spaces import Architecture, Space, load
from tests.nasvit.filled import filled


@pytest.mark.parametrize("name", TIMM)
@torch.no_grad()
def test_weights_of_timm_compute_the_same_in_ours(name: str) -> None:
    theirs = timm.create_model(f"fbnetv3_{name}").eval()
    torch.nn.init.normal_(theirs.classifier.weight)
    ours = import_tensors(f"timm_fbnetv3_{name}", theirs.state_dict())
    images = torch.randn(1, 3, 71, 71)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_our_weights_compute_the_same_in_timm_bias_of_the_stem_included() -> None:
    ours = fbnetv3("d").eval()
    for name, tensor in ours.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            torch.nn.init.normal_(tensor, std=0.1)
    theirs = timm.create_model("fbnetv3_d").eval()
    theirs.load_state_dict(to_timm(ours))
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(theirs.double()(images.double()), ours.double()(images.double()))


def test_a_network_that_timm_pads_otherwise_is_not_given_to_timm() -> None:
    with torch.device("meta"), pytest.raises(ValueError, match="padding of 1 at a kernel of 5"):
        to_timm(fbnetv3("b"))


def test_the_released_padding_makes_smaller_maps() -> None:
    with torch.device("meta"):
        released, padded = fbnetv3("a"), fbnetv3("a", half_kernel_padding=True)
        images = torch.zeros(1, 3, 224, 224)
        assert [maps.shape[-1] for maps in released.forward_intermediates(images)] == [112, 56, 28, 13, 13, 6]
        assert [maps.shape[-1] for maps in padded.forward_intermediates(images)] == [112, 56, 28, 14, 14, 7]


def test_a_and_b_are_one_network_at_two_resolutions() -> None:
    assert released_layout("fbnetv3_a") == released_layout("fbnetv3_b")
    assert (DESIGNS["a"].resolution, DESIGNS["b"].resolution) == (224, 248)


def point(name: str) -> Architecture:
    """A design as an architecture of the space, whose last stage is the last blocks of the design's."""
    design = DESIGNS[name]
    *before, last = design.stages
    first, *inner, final = stages = [*before, last[:-1], last[-1:]]
    assert {len(first), len(final)} == {1}
    return Architecture(
        design.resolution,
        (design.stem, *(stage[-1].channels for stage in stages), FEATURES),
        tuple(sum(blocks.count for blocks in stage) for stage in stages),
        tuple(stage[-1].kernel_size for stage in stages),
        tuple(stage[-1].expand_ratio for stage in stages),
        first_kernel_size=(None, *(stage[0].kernel_size for stage in inner), None),
        first_expand_ratio=(None, *(stage[0].expand_ratio for stage in inner), None),
    )


def released(name: str) -> Space:
    """The space with the padding of a released network, where it is not half the kernel, and only its point."""
    space, trims = load("fbnetv3"), {stage: 1 for stage, _ in DESIGNS[name].paddings}
    stages = tuple(replace(stage, trim=trims.get(number, 0)) for number, stage in enumerate(space.stages))
    return replace(space, stages=stages).restrict(point(name))


def test_a_to_g_are_points_of_the_space() -> None:
    for name in "abcdefg":
        load("fbnetv3").check(point(name))
        assert (released(name) == load("fbnetv3").restrict(point(name))) == (name in "dg")


@pytest.mark.parametrize("half_kernel_padding", [True, False])
@pytest.mark.parametrize("name", "adf")  # of the others it was tried too
def test_points_of_the_space_cost_what_the_published_networks_do(name: str, half_kernel_padding: bool) -> None:
    space = load("fbnetv3").restrict(point(name)) if half_kernel_padding else released(name)
    with torch.device("meta"):
        published = fbnetv3(name, half_kernel_padding=half_kernel_padding, stem_bias=False).eval()
        expected = count_on_meta(published, torch.empty(1, 3, *[DESIGNS[name].resolution] * 2))
    costs = cost_table(space, 1000).costs(np.zeros((1, 0), np.uint8))
    assert Cost(**{metric: int(values[0]) for metric, values in costs.items()}) == expected


@pytest.mark.parametrize("name", "ad")
@torch.no_grad()
def test_a_point_of_the_space_computes_what_the_published_network_does(name: str) -> None:
    published = fbnetv3(name, 5, stem_bias=False).eval()
    subnet = build_subnet(released(name), point(name), 5).eval()
    subnet.resize = None
    tensors = zip(subnet.state_dict().items(), filled(published).state_dict().values(), strict=True)
    subnet.load_state_dict({own: tensor for (own, _), tensor in tensors})
    images = torch.randn(1, 3, 72, 72, generator=torch.Generator().manual_seed(0))
    assert torch.equal(subnet(images), published(images))


def test_the_seed_decides_the_weights() -> None:
    first, again, other = (fbnetv3("a0", seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem.conv.weight"], other["stem.conv.weight"])


def test_an_unknown_name_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="FBNetV3 'z' is unknown; legal: a0, a, b"):
        fbnetv3("z")
