"""Every network is a backbone: the same contract for all kinds."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

import nasvit
import search_spaces
from nasvit.backbones import Backbone
from nasvit.backbones.find import usual_shape
from nasvit.elastic import is_live
from nasvit.layers.network import Network
from nasvit.models import mobilenet_v2
from nasvit.registry import create
from nasvit.supernets.slimmable import SlimmableNetwork
from tests.nasvit.backbones.networks import NETWORKS, OwnCode

SHAPE = (64, 96)
every_kind = pytest.mark.parametrize("kind", NETWORKS)


@functools.cache  # tracing takes seconds; no test changes parameters, and each sets the mode that it needs
def made(kind: str) -> tuple[nn.Module, Backbone]:
    torch.manual_seed(0)
    network = NETWORKS[kind]()
    return network, nasvit.features(network, None, (usual_shape(network)[0], *SHAPE))


def images(network: nn.Module, height: int = SHAPE[0], width: int = SHAPE[1]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, usual_shape(network)[0], height, width, generator=generator)


def state(network: nn.Module) -> dict[str, Any]:
    """Everything of a network that making a backbone could change."""
    tensors = {name: each.clone() for name, each in (*network.named_parameters(), *network.named_buffers())}
    return {"text": str(network), "modes": [each.training for each in network.modules()], **tensors}


@every_kind
@torch.no_grad()
def test_its_maps_are_what_it_says_of_them_at_any_size(kind: str) -> None:
    network, backbone = made(kind)
    info = backbone.train().feature_info
    assert info.reduction() == sorted(info.reduction())
    assert set(info.reduction()) <= {4, 8, 16, 32}
    assert info.reduction()[-1] >= 8
    lost = 1 if kind == "fbnetv3" else 0  # as published, some of its layers have no padding
    for size in (SHAPE, (128, 64)):
        for each, channels, stride in zip(
            backbone(images(network, *size)), info.channels(), info.reduction(), strict=True
        ):
            assert each.shape[:2] == (2, channels)
            for side, found in zip(size, each.shape[2:], strict=True):
                assert -(-side // stride) - lost <= found <= -(-side // stride)


@every_kind
def test_it_trains_the_very_tensors_of_the_network(kind: str) -> None:
    network, backbone = made(kind)
    assert {id(each) for each in backbone.parameters()} < {id(each) for each in network.parameters()}
    assert {id(each) for each in backbone.buffers()} <= {id(each) for each in network.buffers()}
    assert is_live(backbone) == is_live(network)
    network.zero_grad(set_to_none=False)
    sum(each.square().mean() for each in backbone.train()(images(network))).backward()  # type: ignore[union-attr]
    if not kind.startswith("a subnet of"):  # whose gradients may go to the whole network at once
        assert all(each.grad is not None for each in backbone.parameters())


@every_kind
def test_it_has_nothing_that_its_maps_do_not_need(kind: str) -> None:
    network, backbone = made(kind)
    finest = nasvit.features(network, backbone.feature_info.reduction()[:1], (usual_shape(network)[0], *SHAPE)).train()
    own = list(finest.parameters())
    assert len(own) < len(list(backbone.parameters()))
    (only,) = finest(images(network))
    assert all(each is not None for each in torch.autograd.grad(only.square().mean(), own, allow_unused=True))


@every_kind
def test_the_network_stays_as_it_is(kind: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[kind]()
    next(each for each in network.modules() if isinstance(each, nn.BatchNorm2d)).eval()
    before = state(network)
    backbone = nasvit.features(network, None, (usual_shape(network)[0], *SHAPE))
    modes = [each.training for each in backbone.modules() if isinstance(each, nn.BatchNorm2d)]
    assert modes == [False] + [network.training] * (len(modes) - 1)
    assert backbone.training == network.training
    backbone.eval()
    after = state(network)
    assert before.keys() == after.keys()
    assert all(
        torch.equal(each, after[name]) if isinstance(each, Tensor) else each == after[name]
        for name, each in before.items()
    )


@every_kind
@torch.no_grad()
def test_a_copy_computes_the_same_and_shares_nothing(kind: str) -> None:
    network, backbone = made(kind)
    copied, x = copy.deepcopy(backbone).train(), images(network)
    shared = {each.data_ptr() for each in backbone.parameters()} & {each.data_ptr() for each in copied.parameters()}
    assert not shared
    assert not is_live(copied)
    for one, other in zip(backbone.train()(x), copied(x), strict=True):
        assert torch.equal(one, other)
    assert copied.feature_info == backbone.feature_info


EXPORTED = ["a hybrid subnet", "shufflenet_v2", "with branches", "timm", "own code in a sequence"]


@pytest.mark.parametrize("kind", EXPORTED)
@torch.no_grad()
def test_it_can_be_exported(kind: str) -> None:
    network, backbone = made(kind)
    x = images(network)
    program = torch.export.export(backbone.eval(), (x,), strict=False).module()
    for one, other in zip(program(x), backbone(x), strict=True):
        torch.testing.assert_close(one, other)


@torch.no_grad()
def test_the_maps_of_ours_are_those_of_the_stages() -> None:
    network = create("mobilenet_v2-0.35", 5).network.eval()
    assert isinstance(network, Network)
    backbone = nasvit.features(network, (8, 32))
    x = images(network)
    stages = network.forward_intermediates(x)
    assert backbone.feature_info == [
        {"num_chs": 16, "reduction": 8, "module": "stages.2.2"},
        {"num_chs": 112, "reduction": 32, "module": "stages.6.0"},
    ]
    assert [torch.equal(each, stages[number]) for each, number in zip(backbone(x), (2, 6))] == [True, True]


@torch.no_grad()
@pytest.mark.parametrize(("make", "ends"), [
    (torchvision.models.resnet18, ("layer1", "layer2", "layer3", "layer4")),
    (torchvision.models.mobilenet_v2, ("features.3", "features.6", "features.13", "features.18")),
    (torchvision.models.shufflenet_v2_x0_5, ("maxpool", "stage2", "stage3", "conv5")),
])  # fmt: skip
def test_the_maps_of_traced_networks_are_those_of_whole_stages_and_blocks(make: Any, ends: tuple[str, ...]) -> None:
    network = make().eval()
    seen: list[Tensor] = []
    for end in ends:
        network.get_submodule(end).register_forward_hook(lambda module, given, result: seen.append(result))
    backbone = nasvit.features(network, None)
    seen.clear()
    x = images(network)
    network(x)
    expected = tuple(seen)
    assert all(torch.equal(one, other) for one, other in zip(backbone.eval()(x), expected, strict=True))


def test_a_flat_network_gives_its_last_operations_and_no_pooled_ones() -> None:
    backbone = nasvit.features(OwnCode(), (4, 8), (1, 8, 8))  # at this size pooled features look like a map of stride 8
    assert backbone.feature_info.module_name() == ["relu_", "relu_1"]
    assert backbone.feature_info.channels() == [12, 24]


ALIKE = ("nasvit_release", "attentive_nas", "fbnetv3", "mnv4")  # are like nasvit, alphanet, mnv4_micro32


@pytest.mark.parametrize("name", [each for each in search_spaces.names() if each not in ALIKE])
@pytest.mark.parametrize("end", ["smallest", "largest"])
@torch.no_grad()
def test_every_end_of_the_catalog_is_a_backbone(name: str, end: str) -> None:
    space = search_spaces.load(name)
    subnet = nasvit.Supernet(space, 5).at(getattr(space, end))
    backbone = nasvit.features(subnet, (1, 2) if name == "micro8" else None, (space.image_channels, 96, 160))
    maps = backbone.train()(torch.zeros(2, space.image_channels, 64, 96))
    assert [each.shape[1] for each in maps] == backbone.feature_info.channels()
    assert [each.shape[3] for each in maps] == [96 // stride for stride in backbone.feature_info.reduction()]


def test_without_a_shape_maps_are_found_at_the_size_that_the_network_is_for() -> None:
    assert usual_shape(create("micro32:smallest", 5).network) == (3, 24, 24)  # what it resizes images to
    assert usual_shape(NETWORKS["one that resizes"]()) == (3, 64, 64)
    assert usual_shape(NETWORKS["timm"]()) == (3, 224, 224)
    assert usual_shape(OwnCode()) == (1, 224, 224)


def test_strides_are_told_right_for_small_images_too() -> None:
    backbone = nasvit.features(create("fbnetv3_a", 5).network, None, (3, 96, 160))  # of stride 32 it has 2x4 pixels
    assert backbone.feature_info.reduction() == [4, 8, 16, 32]


def test_strides_that_are_not_there_or_out_of_order_are_refused_in_words() -> None:
    network = create("shufflenet_v2-0.5", 5).network
    with pytest.raises(ValueError, match=r"strides=\(4, 8\): there is no map of 4; Network has maps of .* 8, 16, 32"):
        nasvit.features(network, (4, 8))
    with pytest.raises(ValueError, match=r"strides=\(16, 8\): give at least one, ascending"):
        nasvit.features(network, (16, 8))
    with pytest.raises(ValueError, match=r"there is no map of a stride from 4 to 32; Network has maps of strides 1, 2"):
        nasvit.features(create("micro8:smallest", 5).network, None)
    with pytest.raises(ValueError, match=r"strides=\(\): give at least one"):
        nasvit.features(network, ())


class _Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if x.sum() > 0 else x


def test_networks_that_cannot_be_traced_or_run_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"_Untraceable cannot be traced by torch.fx .*torch.fx.wrap"):
        nasvit.features(_Untraceable())
    with pytest.raises(ValueError, match=r"ResNet does not run with images of shape \(5, 64, 64\)"):
        nasvit.features(torchvision.models.resnet18(), (8,), (5, 64, 64))


def slimmable() -> tuple[SlimmableNetwork, Backbone, Backbone]:
    network = SlimmableNetwork(mobilenet_v2(), (0.25, 0.5), 5)
    widest = nasvit.features(network.at(0.5), (8, 16), (3, 64, 64))
    return network, widest, nasvit.features(network.at(0.25), like=widest)


@torch.no_grad()
def test_a_shared_head_on_widened_maps_computes_what_a_head_with_fewer_inputs_computes() -> None:
    network, widest, narrow = slimmable()
    assert narrow.feature_info.channels() == widest.feature_info.channels()
    x = images(widest, 64, 64)
    own = nasvit.features(network.at(0.25), (8, 16)).train()(x)
    for few, wide in zip(own, narrow.train()(x), strict=True):
        assert few.shape[1] < wide.shape[1]
        head = nn.Conv2d(wide.shape[1], 4, 3, padding=1)
        sliced = nn.Conv2d(few.shape[1], 4, 3, padding=1)
        sliced.weight.copy_(head.weight[:, : few.shape[1]])
        sliced.bias.copy_(head.bias)  # type: ignore[union-attr, arg-type]
        torch.testing.assert_close(head(wide), sliced(few), rtol=1e-4, atol=1e-5)


def test_training_a_head_through_widened_maps_trains_the_shared_weights() -> None:
    network, _, narrow = slimmable()
    sum(each.sum() for each in narrow.train()(images(narrow, 64, 64))).backward()  # type: ignore[union-attr]
    assert network.gradients.norm() > 0


def test_maps_wider_than_those_of_the_widest_are_refused_in_words() -> None:
    network, _, narrow = slimmable()
    taken = nasvit.features(network.at(0.25), (8, 16))
    too_wide = nasvit.features(network.at(0.5), like=taken)
    with pytest.raises(ValueError, match="a map of 16 channels cannot get 8; take those of the widest network"):
        too_wide.train()(images(narrow, 64, 64))


def test_subnets_of_other_depths_give_the_maps_of_the_same_stages() -> None:
    space = search_spaces.load("micro32")
    supernet = nasvit.Supernet(space, 5)
    widest = nasvit.features(supernet.at(space.largest), None)
    like = nasvit.features(supernet.at(space.smallest), like=widest)
    alone = nasvit.features(supernet.at(space.smallest), None)
    assert like.feature_info.module_name() == alone.feature_info.module_name() != widest.feature_info.module_name()
    assert like.feature_info.channels() == widest.feature_info.channels()
    elastic = nasvit.elasticize(torchvision.models.resnet18(num_classes=5), torch.zeros(3, 64, 64))
    whole = nasvit.features(elastic.at(elastic.space.largest), (8, 16), (3, 64, 64))
    small = nasvit.features(elastic.at(elastic.space.smallest), like=whole)
    assert [each.shape[1] for each in small(torch.zeros(2, 3, 64, 64))] == whole.feature_info.channels()
