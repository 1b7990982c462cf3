"""ShuffleNet v2 beside torchvision's."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from nasvit.costs.counting import count
from nasvit.models.catalog import SHUFFLENET_V2_WIDTHS, shufflenet_v2
from nasvit.models.family import Family
from nasvit.models.plan import ChannelPlan
from nasvit.supernets.slimmable import SlimmableNetwork

NAMES = dict(zip(SHUFFLENET_V2_WIDTHS, ("x0_5", "x1_0", "x1_5", "x2_0"), strict=True))


def reference(width: float, classes: int = 10) -> nn.Module:
    build = getattr(torchvision.models, f"shufflenet_v2_{NAMES[width]}")
    network: nn.Module = build(num_classes=classes)
    return network


@pytest.fixture(scope="module")
def slimmable() -> SlimmableNetwork:
    with torch.device("meta"):
        return SlimmableNetwork(shufflenet_v2(), SHUFFLENET_V2_WIDTHS, 1000)


@pytest.mark.parametrize("width", SHUFFLENET_V2_WIDTHS)
def test_published_widths_cost_exactly_what_torchvisions_cost(slimmable: SlimmableNetwork, width: float) -> None:
    with torch.device("meta"):
        expected = count(reference(width, 1000), 3, 224, 224)
    found = count(slimmable.at(width), 3, 224, 224)
    assert (found.macs, found.params) == (expected.macs, expected.params)


@torch.no_grad()
def test_torchvisions_weights_give_torchvisions_scores_at_a_width_that_shares_its_weights() -> None:
    network = SlimmableNetwork(shufflenet_v2(), (0.5, 1.0), 10).double()
    generator = torch.Generator().manual_seed(0)
    for width in network.widths:
        expected, subnet = reference(width).double().eval(), network.at(width).eval()
        for tensor in expected.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=torch.float64) * 0.2 + 0.01)
        ours = {**dict(subnet.named_parameters()), **dict(subnet.named_buffers())}
        names = network.extract(width).state_dict()  # ours in the order of the layers, as theirs are
        for name, tensor in zip(names, expected.state_dict().values(), strict=True):
            ours[name].copy_(tensor)
        images = torch.randn(2, 3, 64, 64, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(subnet(images), expected(images), rtol=1e-12, atol=0)


def test_widths_between_the_published_ones_have_channels_between_theirs() -> None:
    family = shufflenet_v2()
    low, between, high = (family.plan(width).channels for width in (0.5, 0.75, 1.0))
    assert all(a <= b <= c for a, b, c in zip(low, between, high, strict=True))
    assert between[family.decisions().index("stages.0.0.out")] == 82
    out = [channels for name, channels in zip(family.decisions(), between, strict=True) if name.endswith("out")]
    assert not any(channels % 2 for channels in out)


@pytest.mark.parametrize("width", [0.4, 2.5])
def test_a_width_outside_the_published_ones_is_refused_in_words(width: float) -> None:
    with pytest.raises(ValueError, match=f"shufflenet_v2: width={width}; legal: 0.5 to 2.0"):
        shufflenet_v2().plan(width)


def changed(family: Family, **entries: int) -> ChannelPlan:
    channels = list(family.plan(0.5).channels)
    for name, value in entries.items():
        channels[family.decisions().index(name.replace("__", "."))] = value
    return ChannelPlan(tuple(channels))


def test_hidden_channels_may_differ_layer_by_layer() -> None:
    family = shufflenet_v2().for_small_images()
    network = SlimmableNetwork(family, (0.5, 1.0), 10, norm="universal")
    plan = changed(family, stages__0__1__hidden0=17, stages__1__0__hidden0=31)
    subnet = network.at(plan).train()
    assert subnet(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert subnet.stages[0][1].depthwise.conv.weight.shape[0] == 17


def test_an_odd_number_of_channels_cannot_be_split_and_is_refused_in_words() -> None:
    family = shufflenet_v2().for_small_images()
    entries = {f"stages__0__{place}__out": 47 for place in range(4)}
    network = SlimmableNetwork(family, (0.5, 1.0), 10, norm="universal")
    with pytest.raises(ValueError, match="channel split: 47 channels, 2 groups; legal: multiples of 2"):
        network.at(changed(family, **entries))
