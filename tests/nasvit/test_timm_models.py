"""Published networks in timm: what timm expects of its own networks, they do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from timm.data import resolve_model_data_config
from timm.models import get_pretrained_cfg
from timm.optim import param_groups_layer_decay

import nasvit
from nasvit.export.card import Card
from nasvit.export.saved import save_network
from nasvit.registry import create
from nasvit.specs import SubnetSpec
from nasvit.timm_models import names
from search_spaces import published

FEW = ("nasvit_smallest", "nasvit_fbnetv3_a0")  # with attention, and without padding


def images(name: str, channels: int = 3) -> torch.Tensor:
    side = get_pretrained_cfg(name).input_size[-1]
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))


def test_every_published_network_is_registered_and_none_has_weights() -> None:
    assert timm.list_models("nasvit_*") == sorted(names(), key=timm.list_models("nasvit_*").index)
    assert len(names()) == len(published.names())
    assert not timm.list_models("nasvit_*", pretrained=True)
    config = get_pretrained_cfg("nasvit_alphanet_a6")
    assert config.input_size == (3, 288, 288) and not config.fixed_input_size
    assert get_pretrained_cfg("nasvit_largest").fixed_input_size
    with pytest.raises(RuntimeError, match="No pretrained weights exist for nasvit_smallest"):
        timm.create_model("nasvit_smallest", pretrained=True)


@pytest.mark.parametrize("name", FEW)
def test_a_network_has_the_methods_that_scripts_of_timm_call(name: str) -> None:
    network = timm.create_model(name, num_classes=7).eval()
    config, x = network.default_cfg, images(name)
    assert config is network.pretrained_cfg
    assert resolve_model_data_config(network)["input_size"] == (3, *x.shape[2:])
    with torch.no_grad():
        last = network.forward_features(x)
        features = network.forward_head(last, pre_logits=True)
        assert last.shape == (2, network.num_features, *config["pool_size"])
        assert features.shape == (2, network.head_hidden_size)
        torch.testing.assert_close(network(x), network.get_classifier()(features))
        assert network(x).shape == (2, 7)
        network.reset_classifier(0)
        torch.testing.assert_close(network(x), features)
        network.reset_classifier(0, "")
        assert network(x).shape == (2, network.head_hidden_size, *config["pool_size"])
        network.reset_classifier(3, "avg")
        assert network(x).shape == (2, 3) == (2, network.num_classes)
    state = network.state_dict()
    assert state[f"{config['first_conv']}.weight"].shape[1] == 3
    assert state[f"{config['classifier']}.weight"].shape[0] == 3
    without = timm.create_model(name, num_classes=0, global_pool="", in_chans=1).eval()
    with torch.no_grad():
        assert without(images(name, 1)).shape == (2, network.head_hidden_size, *config["pool_size"])


@pytest.mark.parametrize("name", FEW)
def test_features_have_the_strides_that_they_say_and_nothing_idle(name: str) -> None:
    network = timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4), in_chans=1)
    assert network.feature_info.reduction() == [4, 8, 16, 32]
    x = images(name, 1)
    maps = network(x)
    for found, channels, stride in zip(maps, network.feature_info.channels(), [4, 8, 16, 32]):
        assert found.shape[:2] == (2, channels)
        assert 0 <= x.shape[-1] / stride - found.shape[-1] <= 1  # those without padding are a little smaller
    sum(each.square().mean() for each in maps).backward()
    idle = [key for key, parameter in network.named_parameters() if parameter.grad is None]
    assert not idle
    whole = timm.create_model(name).eval()
    with torch.no_grad():
        last, both = whole.forward_intermediates(images(name), indices=2)
        torch.testing.assert_close(last, whole.forward_features(images(name)))
        torch.testing.assert_close(both[-1], last)
        stopped, (first,) = whole.forward_intermediates(images(name), indices=[0], stop_early=True)
        assert torch.equal(stopped, first) and first.shape[-1] * 2 == images(name).shape[-1]


def test_the_seed_of_torch_draws_the_weights_and_rates_of_dropping_count() -> None:
    networks = []
    for seed, options in ((0, {"drop_rate": 0.5}), (0, {"drop_path_rate": 0.5}), (1, {})):
        torch.manual_seed(seed)
        networks.append(timm.create_model("nasvit_smallest", num_classes=2, **options))
    one, other, third = (network.state_dict()["stages.0.0.project.conv.weight"] for network in networks)
    assert torch.equal(one, other)
    assert not torch.equal(one, third)
    x = images("nasvit_smallest")
    for network in networks[:2]:
        assert not torch.equal(network.train()(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_gradients_with_checkpoints_are_those_without() -> None:
    torch.manual_seed(0)
    network = timm.create_model("nasvit_smallest", num_classes=2).train()
    gradients, calls = [], []
    network.stages[0][0].register_forward_pre_hook(lambda *_: calls.append(network.grad_checkpointing))
    for enable in (False, True):
        network.set_grad_checkpointing(enable)
        network.zero_grad()
        network(images("nasvit_smallest")).square().sum().backward()
        gradients.append(network.stem.conv.weight.grad.clone())
    torch.testing.assert_close(*gradients)
    assert calls == [False, True, True]  # once more in the backward pass
    groups = param_groups_layer_decay(network, layer_decay=0.5, no_weight_decay_list=network.no_weight_decay())
    rates = {id(each): group["lr_scale"] for group in groups for each in group["params"]}
    assert rates[id(network.stem.conv.weight)] < rates[id(network.head.classifier.weight)] == 1
    assert all(id(each) in rates for each in network.parameters())
    assert network.no_weight_decay()


def test_weights_that_nasvit_saved_are_taken_and_the_network_is_ours(tmp_path: Path) -> None:
    ours, card = create("alphanet_a0", 5, seed=3)
    x = images("nasvit_alphanet_a0")
    ours = nasvit.calibrate(ours, [x]).eval()
    save_network(ours, tmp_path, Card(card.spec, tuple("abcde")))
    network = timm.create_model(
        "nasvit_alphanet_a0", num_classes=5, checkpoint_path=str(tmp_path / "network.safetensors")
    ).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(x), ours(x))
    assert isinstance(card.spec, SubnetSpec) and card.spec.side == x.shape[-1]
    larger = torch.from_numpy(np.zeros((1, 3, 256, 224), np.float32))
    assert network(larger).shape == (1, 5)  # of convolutions alone


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"img_size": 224}, "img_size=224: this network has attention, whose tables are for 192x192 pixels alone"),
        ({"global_pool": ""}, "global_pool=''; legal: 'avg', and with num_classes=0 also ''"),
    ],
)
def test_mistakes_are_said(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        timm.create_model("nasvit_smallest", **options)


def test_images_of_another_size_and_other_layouts_are_refused() -> None:
    network = timm.create_model("nasvit_smallest").eval()
    with pytest.raises(ValueError, match="images of 224x224 pixels: this network has attention"):
        network(torch.zeros(1, 3, 224, 224))
    with pytest.raises(ValueError, match="output_fmt='NHWC'; legal: 'NCHW'"):
        network.forward_intermediates(torch.zeros(1, 3, 192, 192), output_fmt="NHWC")
