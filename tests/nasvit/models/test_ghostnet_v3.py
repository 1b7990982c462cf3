from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from nasvit.branches.fuse import fuse
from nasvit.importing import import_tensors
from nasvit.layers import BatchNorm2d, ConvNorm
from nasvit.layers.ghost import GhostModule
from nasvit.layers.reparameterized import Reparameterized
from nasvit.models.catalog import mobilenet_v2
from nasvit.models.ghostnet_v3 import GhostOptions, ghostnet_v3
from nasvit.supernets.slimmable import SlimmableNetwork


def noisy(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give every tensor values that are nothing special."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
                scale = 0.5 + noise if name.endswith("running_var") else (noise - 0.5) * (3 / tensor[0].numel()) ** 0.5
                tensor.copy_(scale if tensor.dim() > 1 or name.endswith("running_var") else 0.75 + 0.5 * noise)
    return network.eval()


def images(side: int = 64, other: int | None = None) -> torch.Tensor:
    shape = (2, 3, side, other or side)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("width", [0.5, 1.6])
def test_weights_of_timm_give_the_scores_of_timm(width: float) -> None:
    source = f"ghostnetv3_{round(100 * width):03d}"
    theirs = noisy(timm.create_model(source, num_classes=7)).double()
    ours = import_tensors(source, theirs.state_dict()).double().eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(images()), theirs(images()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(64, 64), (64, 96), (32, 32)])
def test_the_fused_network_computes_the_same(shape: tuple[int, int]) -> None:
    network = noisy(ghostnet_v3(0.5, 5)).double()
    fused, folded = fuse(network), fuse(network, batch_norms=True)
    with torch.no_grad():
        expected = network(images(*shape))
        torch.testing.assert_close(fused(images(*shape)), expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(folded(images(*shape)), expected, rtol=1e-9, atol=1e-9)
    assert any(isinstance(module, Reparameterized) for module in network.modules())
    assert not any(isinstance(module, Reparameterized) for module in fused.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())


@pytest.mark.parametrize("options", [GhostOptions(1, False, False, False), GhostOptions(2, True, False)])
def test_every_ingredient_can_be_left_out(options: GhostOptions) -> None:
    network = noisy(ghostnet_v3(0.5, 5, options=options, small_images=True)).double()
    with torch.no_grad():
        torch.testing.assert_close(fuse(network)(images(32)), network(images(32)), rtol=1e-9, atol=1e-9)


def test_an_interleaved_ghost_module_differs_in_the_order_of_channels_only() -> None:
    primary, cheap = nn.Conv2d(4, 3, 1), nn.Conv2d(3, 3, 3, padding=1, groups=3)
    x = torch.randn(2, 4, 5, 5)
    beside, between = (GhostModule(primary, cheap, 5, interleaved=each)(x) for each in (False, True))
    assert torch.equal(between, torch.stack([beside[:, i] for i in (0, 3, 1, 4)] + [primary(x)[:, 2]], 1))


@pytest.mark.parametrize("side", [1, 2, 31, 32, 33])
def test_small_maps_do_not_crash_the_attention(side: int) -> None:
    network = ghostnet_v3(0.5, 5).eval()
    with torch.no_grad():
        assert network(images(side).float()).shape == (2, 5)


def unit(conv: nn.Conv2d, act: nn.Module | None = None) -> ConvNorm:
    norm = BatchNorm2d(conv.out_channels)
    norm.track_statistics()
    return ConvNorm(conv, norm, act)


@pytest.mark.parametrize(
    ("conv", "scale"),
    [
        (lambda: nn.Conv2d(6, 4, 3, 2, 1), lambda: nn.Conv2d(6, 4, 1, 2)),
        (lambda: nn.Conv2d(6, 6, 5, 2, 2, groups=6), lambda: nn.Conv2d(6, 6, 1, 2, groups=6)),
        (lambda: nn.Conv2d(6, 6, (1, 5), 1, (0, 2), groups=3), lambda: nn.Conv2d(6, 6, 1, groups=3)),
        (lambda: nn.Conv2d(6, 6, 3, 1, 2, dilation=2), lambda: nn.Conv2d(6, 6, 1)),
    ],
)
def test_branches_of_any_convolution_fuse(conv: object, scale: object) -> None:
    branches = [unit(conv()) for _ in range(2)]  # type: ignore[operator]
    whole = branches[0].conv.stride == (1, 1)
    identity = unit(nn.Conv2d(6, 6, 1)).norm if whole else None
    assert identity is None or isinstance(identity, nn.BatchNorm2d)
    layer = noisy(Reparameterized(branches, unit(scale()), identity, nn.ReLU())).double()  # type: ignore[operator]
    assert isinstance(layer, Reparameterized)
    x = torch.randn(2, 6, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(layer.fuse()(x), layer(x), rtol=1e-9, atol=1e-9)


def test_an_identity_branch_of_a_strided_convolution_is_refused_in_words() -> None:
    branch = unit(nn.Conv2d(4, 4, 3, 2, 1))
    with pytest.raises(ValueError, match="changes size or channels"):
        Reparameterized([branch], identity=BatchNorm2d(4))


def test_a_small_branch_of_an_unpadded_convolution_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="has no center under each pixel"):
        Reparameterized([unit(nn.Conv2d(4, 4, 3))], unit(nn.Conv2d(4, 4, 1)))


def test_branches_with_an_activation_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="has an activation"):
        Reparameterized([unit(nn.Conv2d(4, 4, 1), nn.ReLU())])


def test_fusing_without_statistics_is_refused_in_words() -> None:
    layer = Reparameterized([ConvNorm(nn.Conv2d(4, 4, 1), BatchNorm2d(4))]).eval()
    with pytest.raises(ValueError, match="calibrate the network first"):
        layer.fuse()


def test_fusing_a_live_subnet_is_refused_in_words() -> None:
    network = SlimmableNetwork(mobilenet_v2().for_small_images(), (0.5, 1.0), 5)
    with pytest.raises(ValueError, match="extract it first"):
        fuse(network.at(0.5))
    assert not any(
        isinstance(m, nn.BatchNorm2d) for m in fuse(network.extract(0.5).eval(), batch_norms=True).stages.modules()
    )


def test_the_form_for_small_images_keeps_the_size_in_the_stem_and_the_first_strided_block() -> None:
    network = ghostnet_v3(0.5, 5, small_images=True).eval()
    with torch.no_grad():
        maps = network.forward_intermediates(torch.randn(1, 3, 32, 32))
    assert [each.shape[-1] for each in maps] == [32, 32, 32, 16, 16, 8, 8, 4, 4]


def test_ghost_convolutions_start_at_he_variance() -> None:
    network = ghostnet_v3(0.5, 5, seed=3)
    conv = max((m for m in network.modules() if isinstance(m, nn.Conv2d)), key=lambda m: m.weight.numel())
    fan_out = conv.out_channels // conv.groups * conv.kernel_size[0] * conv.kernel_size[1]
    assert float(conv.weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
