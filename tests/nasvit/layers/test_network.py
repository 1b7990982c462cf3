"""The maps of a plain network, by timm's names."""

from __future__ import annotations

import torch

from nasvit.registry import create


@torch.no_grad()
def test_features_are_the_last_of_the_intermediate_maps_and_what_the_head_gets() -> None:
    network = create("mcunet@32", 5).network.eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    maps = network.forward_intermediates(images)
    assert [tuple(each.shape[1:]) for each in maps[:3]] == [(8, 32, 32), (16, 32, 32), (24, 16, 16)]
    assert len(maps) == len(network.stages)
    features = network.forward_features(images)
    assert torch.equal(features, maps[-1])
    assert torch.equal(network(images), network.head(features))
