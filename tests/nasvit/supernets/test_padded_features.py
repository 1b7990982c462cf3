"""A head for the widest features, on narrower ones padded with zeros."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasvit.supernets.padded_features import PaddedFeatures
from tests.nasvit.supernets.tiny import images, tiny


def test_a_shared_head_on_padded_maps_computes_what_a_head_with_fewer_inputs_computes() -> None:
    network = tiny()
    backbone = network.features_at(0.5).eval()
    maps, padded = network.at(0.5).eval().forward_intermediates(images()), backbone.forward_intermediates(images())
    assert tuple(each.shape[1] for each in padded) == network.feature_channels
    for narrow, wide in zip(maps, padded, strict=True):
        head = nn.Conv2d(wide.shape[1], 4, 3, padding=1).double()
        sliced = nn.Conv2d(narrow.shape[1], 4, 3, padding=1).double()
        with torch.no_grad():
            sliced.weight.copy_(head.weight[:, : narrow.shape[1]])
            sliced.bias.copy_(head.bias)  # type: ignore[union-attr, arg-type]
        torch.testing.assert_close(head(wide), sliced(narrow), rtol=1e-12, atol=1e-12)


def test_the_largest_width_is_not_padded() -> None:
    network = tiny()
    maps = network.at(1.0).eval().forward_intermediates(images())
    for one, other in zip(maps, network.features_at(1.0).eval()(images()), strict=True):
        assert torch.equal(one, other)


def test_training_a_head_through_padded_maps_trains_the_shared_weights() -> None:
    network = tiny()
    sum(each.sum() for each in network.features_at(0.5).train()(images())).backward()  # type: ignore[union-attr]
    assert network.gradients.norm() > 0


def test_maps_wider_than_asked_for_and_a_wrong_number_of_stages_are_refused_in_words() -> None:
    network = tiny()
    with pytest.raises(ValueError, match="24 channels cannot be padded to 8"):
        PaddedFeatures(network.at(1.0).eval(), (16, 8))(images())
    with pytest.raises(ValueError, match="there are 2 stages"):
        PaddedFeatures(network.at(1.0), (16,))
