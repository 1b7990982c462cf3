from __future__ import annotations

import warnings

import pytest
import timm
import torch
import torchvision
from timm.layers import BatchNormAct2d, freeze_batch_norm_2d
from torch import nn

import search_spaces
from nasvit.branches.fuse import fuse
from nasvit.branches.reparameterize import reparameterize
from nasvit.heads.segmentation import LRASPP
from nasvit.layers import ConvNorm
from nasvit.layers.calibration import calibrate
from nasvit.layers.reparameterized import Reparameterized
from nasvit.models.catalog import mobilenet_v2
from nasvit.names import spec_of_name
from nasvit.registry import create
from nasvit.specs import DenseSpec
from nasvit.supernets.slimmable import SlimmableNetwork
from nasvit.supernets.supernet import build_subnet

GHOST = search_spaces.load("ghost_micro32")
NETWORKS = {
    "torchvision mobilenet_v2": lambda: torchvision.models.mobilenet_v2(num_classes=5, width_mult=0.35),
    "torchvision shufflenet_v2": lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=5),
    "timm mobilenetv2": lambda: timm.create_model("mobilenetv2_035", num_classes=5),
    "our mobilenet_v2": lambda: create("mobilenet_v2-0.35", 5).network,
    "our search result with squeeze-and-excite": lambda: build_subnet(GHOST, GHOST.smallest, 5),
}


def images(seed: int = 0, side: int = 40) -> torch.Tensor:
    return torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(seed))


def with_statistics(network: nn.Module) -> nn.Module:
    """Let batch norms see images, and give gains and biases values that are nothing special."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.5
                module.weight.add_(0.5 * torch.rand(module.weight.shape, generator=generator))
                module.bias.add_(0.5 * torch.rand(module.bias.shape, generator=generator))
        for seed in range(6):
            network.train()(images(seed))
    return network.double().eval()


def branched(network: nn.Module) -> dict[str, Reparameterized]:
    return {name: module for name, module in network.named_modules() if isinstance(module, Reparameterized)}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_fused_network_computes_what_it_did_with_branches(name: str) -> None:
    network = with_statistics(reparameterize(NETWORKS[name]()))
    assert len(branched(network)) > 5
    fused = fuse(network)
    assert not branched(fused)
    with torch.no_grad():
        expected = network(images().double())
        error = (fused(images().double()) - expected).abs().max() / expected.abs().max()
    assert error < 1e-12


@pytest.mark.parametrize("name", ["torchvision mobilenet_v2", "timm mobilenetv2"])
def test_branches_at_gain_zero_leave_a_trained_network_as_it_is(name: str) -> None:
    network = with_statistics(NETWORKS[name]())
    with torch.no_grad():
        assert torch.equal(reparameterize(network, keep_output=True)(images().double()), network(images().double()))


def test_every_kind_of_branch_stands_where_it_is_legal() -> None:
    network = reparameterize(torchvision.models.mobilenet_v2(width_mult=0.35), 4)
    layers = branched(network)
    for layer in layers.values():
        conv = layer._conv()
        is_depthwise, keeps = conv.groups > 1, conv.stride == (1, 1)
        assert len(layer.branches) == 4
        assert (layer.scale is not None) == is_depthwise
        assert (layer.identity is not None) == (is_depthwise and keeps)
    assert any(layer._conv().stride == (2, 2) for layer in layers.values())


def test_the_1x1_branch_and_the_identity_can_be_left_out() -> None:
    layers = branched(reparameterize(torchvision.models.mobilenet_v2(width_mult=0.35), scale=False, identity=False))
    assert layers and all(layer.scale is None and layer.identity is None for layer in layers.values())


def test_a_named_convolution_of_any_kernel_can_have_branches() -> None:
    network = with_statistics(reparameterize(torchvision.models.resnet18(num_classes=5), names=["layer1.0.conv1"]))
    assert list(branched(network)) == ["layer1.0.conv1"]
    with torch.no_grad():
        torch.testing.assert_close(fuse(network)(images().double()), network(images().double()), rtol=1e-11, atol=1e-11)


def test_the_same_seed_gives_the_same_branches() -> None:
    network = NETWORKS["torchvision shufflenet_v2"]()
    first, again, other = (reparameterize(network, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def small(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


class Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = small(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x) if x.sum() > 0 else x


SHARED = nn.Conv2d(4, 4, 1)
REFUSED = {
    "groups that are not depthwise": (
        small(nn.Conv2d(4, 4, 1, groups=2), nn.BatchNorm2d(4)),
        "2 groups for 4 channels",
    ),
    "a depthwise convolution that multiplies channels": (
        small(nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d(8)),
        "4 groups for 4 channels",
    ),
    "no batch norm": (small(nn.Conv2d(4, 4, 1), nn.ReLU()), "what follows it is ReLU, not a batch norm"),
    "nothing after it": (small(nn.Conv2d(4, 4, 1)), "what follows it is no layer"),
    "a shared convolution": (
        small(SHARED, nn.BatchNorm2d(4), SHARED, nn.BatchNorm2d(4)),
        "it or its batch norm is shared",
    ),
    "an untraceable network": (Untraceable(), "cannot be traced by torch.fx"),
}


@pytest.mark.parametrize(("network", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_have_branches_is_refused_in_words(network: nn.Module, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        reparameterize(network)


def test_a_convolution_whose_output_is_used_twice_is_left_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            return x + self.norm(x)

    with pytest.raises(ValueError, match="conv: what follows it is no layer"):
        reparameterize(Twice())


def test_a_name_that_is_no_convolution_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="'layers.9' cannot have branches: there is no such convolution"):
        reparameterize(small(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)), names=["layers.9"])


def test_a_live_subnet_gets_no_branches() -> None:
    with pytest.raises(ValueError, match="live subnet"):
        reparameterize(SlimmableNetwork(mobilenet_v2().for_small_images(), (0.5, 1.0), 5).at(0.5))


def test_fusing_in_training_mode_is_refused_in_words() -> None:
    network = reparameterize(small(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))).train()
    for fused in (lambda: fuse(network), lambda: network[0].fuse()):
        with pytest.raises(ValueError, match=r"in training mode batch norms use the batch, not.*call eval\(\) first"):
            fused()


def frozen_by_timm() -> nn.Module:
    return nn.Sequential(freeze_batch_norm_2d(timm.create_model("mobilenetv3_small_050", num_classes=5)))


FOREIGN = {
    "torchvision": lambda: torchvision.models.mobilenet_v2(num_classes=5, width_mult=0.35),
    "frozen": lambda: torchvision.models.resnet18(num_classes=5, norm_layer=torchvision.ops.FrozenBatchNorm2d),
    "frozen with activations": frozen_by_timm,
    "synchronized": lambda: nn.SyncBatchNorm.convert_sync_batchnorm(torchvision.models.shufflenet_v2_x0_5()),
    "padded as TensorFlow does": lambda: timm.create_model("tf_mobilenetv3_small_minimal_100", num_classes=5),
    "a head in parts": lambda: DenseSpec(spec_of_name("mobilenet_v2-0.25"), LRASPP(), (64, 64)).build(5),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_batch_norms_of_any_library_are_folded_into_the_convolutions_before_them(name: str) -> None:
    network = with_statistics(FOREIGN[name]())
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error", UserWarning)
        fused = fuse(network, batch_norms=True)
        torch.testing.assert_close(fused(images().double()), network(images().double()), rtol=1e-10, atol=1e-10)
    assert not any("BatchNorm" in type(module).__name__ for module in fused.modules())
    assert any("BatchNorm" in type(module).__name__ for module in network.modules())


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)), r"1 of 2 .* \(0\): they follow no"),
        (timm.create_model("efficientvit_b0"), r"26 of 26 .*stem.*, \.\.\.\): EfficientVit cannot be traced"),
    ],
    ids=["before", "untraceable"],
)
def test_batch_norms_that_are_left_are_told(network: nn.Module, words: str) -> None:
    with pytest.warns(UserWarning, match=f"fuse: {words}"):
        fuse(network.eval(), batch_norms=True)


def test_a_batch_norm_without_gain_and_odd_padding_fuse() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1, groups=4, padding_mode="reflect")
    norm = nn.BatchNorm2d(4, affine=False)
    layer = Reparameterized([ConvNorm(conv, norm)]).double()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    layer.train()(x)
    layer.eval()
    torch.testing.assert_close(layer.fuse()(x), layer(x), rtol=1e-12, atol=1e-12)


def test_depthwise_convolutions_without_a_center_get_branches_of_their_own_size_only() -> None:
    layer = reparameterize(nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4)))[0]
    assert isinstance(layer, Reparameterized)
    assert len(layer.branches) == 3 and layer.scale is None and layer.identity is None


def test_a_network_in_evaluation_mode_gets_branches_in_evaluation_mode() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.BatchNorm2d(4)).eval()
    assert not any(module.training for module in reparameterize(network)[0].modules())


def test_new_branches_start_anew_with_the_old_batch_norms_eps_and_momentum() -> None:
    conv, norm = nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.BatchNorm2d(4, eps=0.1, momentum=0.3)
    nn.init.constant_(norm.weight, 5.0)
    layer = reparameterize(nn.Sequential(conv, norm))[0]
    assert isinstance(layer, Reparameterized)
    assert torch.equal(layer.branches[0].conv.weight, conv.weight)
    new = [layer.branches[1].norm, layer.branches[2].norm, layer.scale.norm, layer.identity]  # type: ignore[union-attr]
    assert all((each.eps, each.momentum, each.weight[0].item()) == (0.1, 0.3, 1.0) for each in new)  # type: ignore[union-attr, index]
    weights = [branch.conv.weight for branch in layer.branches]  # type: ignore[union-attr]
    assert not any(torch.equal(one, other) for i, one in enumerate(weights) for other in weights[:i])  # type: ignore[arg-type]


class Aliased(nn.Module):
    """Runs its convolution by another name than the one it was registered under first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.project = self.conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.norm(self.project(x))
        return out


def test_a_convolution_of_two_names_has_branches_under_both() -> None:
    network, x = Aliased(), torch.randn(4, 4, 5, 5)
    network(x)
    branched = reparameterize(network.eval(), keep_output=True)
    assert torch.equal(branched(x), network(x))
    fused = fuse(branched)
    assert fused.project is fused.conv
    torch.testing.assert_close(fused(x), network(x))


def test_branches_fuse_after_batch_norms_were_synchronized() -> None:
    network = reparameterize(small(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))
    network = nn.SyncBatchNorm.convert_sync_batchnorm(network).eval()
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(fuse(network)(x), network(x))


def test_a_batch_norm_without_statistics_gets_some_by_calibration_and_can_be_fused() -> None:
    network = reparameterize(small(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)))
    with pytest.raises(ValueError, match="calibrate the network first"):
        fuse(network.eval())
    x = torch.randn(2, 4, 5, 5)
    calibrate(network, [x])
    torch.testing.assert_close(fuse(network)(x), network(x))


def test_a_batch_norm_of_timm_keeps_its_settings_in_the_branches() -> None:
    norm = BatchNormAct2d(4, affine=False)
    network, x = small(nn.Conv2d(4, 4, 1), norm), torch.randn(2, 4, 5, 5)
    network(x)
    layer = reparameterize(network.eval(), 1)
    torch.testing.assert_close(fuse(layer)(x), network(x))
    frozen = small(nn.Conv2d(4, 4, 1), BatchNormAct2d(4)).requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in reparameterize(frozen, 1).parameters())


def test_a_parametrized_convolution_is_refused_in_words() -> None:
    conv = torch.nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 1))
    with pytest.raises(ValueError, match="computed from other parameters"):
        reparameterize(small(conv, nn.BatchNorm2d(4)))


def test_branches_of_a_frozen_convolution_are_frozen() -> None:
    network = small(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.BatchNorm2d(4)).requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in reparameterize(network).parameters())


def test_padding_by_name_is_centered_too() -> None:
    conv = nn.Conv2d(4, 4, 3, padding="same", groups=4)
    layer = reparameterize(small(conv, nn.BatchNorm2d(4))).double()
    assert isinstance(layer[0], Reparameterized) and layer[0].scale is not None and layer[0].identity is not None
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    layer.train()(x)
    torch.testing.assert_close(fuse(layer.eval())(x), layer(x), rtol=1e-12, atol=1e-12)


def test_a_branched_layer_that_stands_twice_in_one_container_is_fused_twice() -> None:
    layer = reparameterize(small(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))).eval()[0]
    fused = fuse(small(layer, nn.ReLU(), layer).eval())
    assert not any(isinstance(module, Reparameterized) for module in fused.modules())
