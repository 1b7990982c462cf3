"""Plain layers of views compute and learn exactly what slicing the largest tensors through autograd does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nasvit.elastic import (
    Elastic,
    ElasticAttention,
    ElasticBatchNorm2d,
    ElasticConv2d,
    ElasticConvNorm,
    ElasticDepthwiseConv2d,
    ElasticGhostBlock,
    ElasticGhostModule,
    ElasticHead,
    ElasticLayerNorm,
    ElasticLinear,
    ElasticMBConv,
    ElasticMlp,
    ElasticRelativePositionBias,
    ElasticSqueezeExcite,
    ElasticSwitchableBatchNorm2d,
    ElasticTalkingHeads,
    ElasticTransformerBlock,
    Switch,
    SwitchableScale,
)
from nasvit.elastic.universal_batch_norm import ElasticUniversalBatchNorm2d
from search_spaces import MBConvOptions, TransformerOptions
from tests.nasvit.elastic import reference
from tests.nasvit.elastic.reference import Weights, below
from tests.nasvit.filled import filled

POOL, IDENTITY = MBConvOptions(), MBConvOptions(shortcut="identity", squeeze_excite_activation="hard_swish")
PAPER = TransformerOptions(value_ratio=2)
RELEASE = TransformerOptions(
    norm="joint",
    mlp_order="after",
    mlp_depthwise=False,
    projection_activation="before",
    scale="depth_tokens",
    position_side=6,
)


def expanded_head(w: Weights, x: Tensor) -> Tensor:
    x = reference.conv_norm(below(w, "expand"), x, 3 * x.shape[1], 1, "swish").mean((2, 3), keepdim=True)
    x = reference.ACTIVATIONS["swish"](reference.conv(below(w, "mix.conv"), x, 20, 1)).flatten(1)
    return reference.linear(below(w, "classifier"), x, 5)


def gate(channels: int, options: MBConvOptions) -> ElasticSqueezeExcite:
    return ElasticSqueezeExcite(channels, options.squeeze_channels, act=options.squeeze_excite_activation)


def scaled(w: Weights, x: Tensor) -> Tensor:
    return x * (w["weight"][1, 2, :6] * (8 / 6))


Case = tuple[Elastic, Callable[[Elastic], nn.Module], Callable[[Weights, Tensor], Tensor], tuple[int, ...]]
CASES: dict[str, Case] = {
    "conv": (
        ElasticConv2d(8, 12, 5, stride=2, bias=True),
        lambda e: e.at(6, 10, 3),
        lambda w, x: reference.conv(w, x, 10, 3, 2),
        (2, 6, 7, 7),
    ),
    "conv of one pixel": (
        ElasticConv2d(8, 12),
        lambda e: e.at(5, 12),
        lambda w, x: reference.conv(w, x, 12, 1),
        (2, 5, 4, 4),
    ),
    "depthwise": (
        ElasticDepthwiseConv2d(12, 7, stride=2),
        lambda e: e.at(8, 3),
        lambda w, x: reference.depthwise(w, x, 3, 2),
        (2, 8, 9, 9),
    ),
    "linear": (
        ElasticLinear(8, 12),
        lambda e: e.at(6, 10),
        lambda w, x: reference.linear(w, x, 10),
        (2, 3, 6),
    ),
    "linear without bias": (
        ElasticLinear(8, 12, bias=False),
        lambda e: e.at(7, 3),
        lambda w, x: reference.linear(w, x, 3),
        (4, 7),
    ),
    "batch norm": (ElasticBatchNorm2d(8), lambda e: e.at(5), reference.batch_norm, (3, 5, 4, 4)),
    "batch norm with stored statistics": (
        ElasticBatchNorm2d(8, stored_statistics=True),
        lambda e: e.at(5),
        reference.batch_norm,
        (3, 5, 4, 4),
    ),
    "switchable batch norm": (
        ElasticSwitchableBatchNorm2d((4, 8)),
        lambda e: e.at(4, Switch(0)),
        lambda w, x: reference.batch_norm(below(w, "switches.0"), x),
        (3, 4, 4, 4),
    ),
    "universal batch norm": (
        ElasticUniversalBatchNorm2d(8),
        lambda e: e.at(3, Switch(None, "0.5")),
        reference.batch_norm,
        (3, 3, 4, 4),
    ),
    "layer norm": (
        ElasticLayerNorm(8),
        lambda e: e.at(6),
        lambda w, x: reference.layer_norm(w, x, "token"),
        (2, 3, 3, 6),
    ),
    "layer norm over tokens and channels": (
        ElasticLayerNorm(8, over="joint"),
        lambda e: e.at(6),
        lambda w, x: reference.layer_norm(w, x, "joint"),
        (2, 3, 3, 6),
    ),
    "conv norm": (
        ElasticConvNorm(ElasticConv2d(8, 12, 3), ElasticBatchNorm2d(12), "hard_swish"),
        lambda e: e.at(4, 6),
        lambda w, x: reference.conv_norm(w, x, 6, 3, "hard_swish"),
        (2, 4, 5, 5),
    ),
    "squeeze and excite": (
        ElasticSqueezeExcite(16, lambda channels: 4 if channels == 10 else 8),
        lambda e: e.at(10),
        lambda w, x: reference.squeeze_excite(w, x, 4, "relu"),
        (2, 10, 4, 4),
    ),
    "mbconv that strides over an odd map": (
        ElasticMBConv((16,), (48,), (24,), kernel_size=5, stride=2, gate=gate(48, POOL), shortcut="pool"),
        lambda e: e.at(8, 16, 16, 3),
        lambda w, x: reference.mbconv(w, x, 16, 3, 2, 2, "swish", POOL, True),
        (2, 8, 7, 7),
    ),
    "mbconv of unequal widths": (
        ElasticMBConv((16,), (32,), (24,), act="relu", shortcut="pool"),
        lambda e: e.at(16, None, 24),
        lambda w, x: reference.mbconv(w, x, 24, 3, 1, 1, "relu", POOL, False),
        (2, 16, 6, 6),
    ),
    "mbconv with an identity": (
        ElasticMBConv((16,), (48,), (16,), kernel_size=5, gate=gate(48, IDENTITY), act="hard_swish"),
        lambda e: e.at(8, 24, 8, 5),
        lambda w, x: reference.mbconv(w, x, 8, 5, 3, 1, "hard_swish", IDENTITY, True),
        (2, 8, 6, 6),
    ),
    "mbconv without a shortcut": (
        ElasticMBConv((16,), (48,), (24,), kernel_size=5, stride=2, act="relu"),
        lambda e: e.at(16, 48, 16, 3),
        lambda w, x: reference.mbconv(w, x, 16, 3, 3, 2, "relu", IDENTITY, False),
        (2, 16, 6, 6),
    ),
    "ghost module of odd width": (
        ElasticGhostModule((16,), (24,), kernel_size=5, act="relu"),
        lambda e: e.at(8, 11, 3),
        lambda w, x: reference.ghost_module(w, x, 11, 3, "relu"),
        (2, 8, 6, 6),
    ),
    "ghost block that strides over an odd map": (
        ElasticGhostBlock((16,), (48,), (24,), kernel_size=5, stride=2, gate=gate(48, POOL)),
        lambda e: e.at(8, 16, 16, 3),
        lambda w, x: reference.ghost_block(w, x, 16, 3, 2, 2, "relu", POOL, True),
        (2, 8, 7, 7),
    ),
    "ghost block that changes width": (
        ElasticGhostBlock((16,), (32,), (24,), kernel_size=3, act="swish"),
        lambda e: e.at(16, 16, 20, 3),
        lambda w, x: reference.ghost_block(w, x, 20, 3, 1, 1, "swish", POOL, False),
        (2, 16, 6, 6),
    ),
    "ghost block that keeps its input": (
        ElasticGhostBlock((16,), (32,), (16,), kernel_size=3, keeps=True),
        lambda e: e.at(12, 24, 12, 3),
        lambda w, x: reference.ghost_block(w, x, 12, 3, 2, 1, "relu", POOL, False),
        (2, 12, 6, 6),
    ),
    "mlp": (
        ElasticMlp(16, 2),
        lambda e: e.at(8, 1.5),
        lambda w, x: reference.mlp(w, x, 1.5, "swish"),
        (2, 3, 3, 8),
    ),
    "mlp with a depthwise convolution": (
        ElasticMlp(16, 2, depthwise=True, act="relu"),
        lambda e: e.at(8, 1),
        lambda w, x: reference.mlp(w, x, 1, "relu"),
        (2, 3, 3, 8),
    ),
    "talking heads": (
        ElasticTalkingHeads(4),
        lambda e: e.at(3),
        reference.talking_heads,
        (2, 3, 4, 4),
    ),
    "global attention": (
        ElasticAttention(24, 6, value_ratio=2, activate_first=False),
        lambda e: e.at(16, 4),
        lambda w, x: reference.attention(w, x, 1, "swish", PAPER),
        (2, 4, 4, 16),
    ),
    "attention in windows": (
        ElasticAttention(24, 6),
        lambda e: e.at(24, 6, 3),
        lambda w, x: reference.attention(w, x, 3, "swish", RELEASE),
        (2, 6, 6, 24),
    ),
    "switchable scale": (
        SwitchableScale(2, 3, 8, factor_channels=8),
        lambda e: e.at(1, 2, 6),
        scaled,
        (2, 3, 3, 6),
    ),
    "transformer block of the paper": (
        ElasticTransformerBlock(24, 6, mlp_ratio=2, scales=(2, 3), options=PAPER),
        lambda e: e.at(16, 4, mlp_ratio=1, windows=2, scale=(1, 0)),
        lambda w, x: reference.transformer(w, x, 1, 2, (1, 0), "swish", PAPER),
        (2, 16, 4, 4),
    ),
    "transformer block of the release": (
        ElasticTransformerBlock(24, 4, mlp_ratio=2, scales=(4, 8), options=RELEASE),
        lambda e: e.at(8, 3, mlp_ratio=2, windows=1, scale=(3, 1)),
        lambda w, x: reference.transformer(w, x, 2, 1, (3, 1), "swish", RELEASE),
        (2, 8, 3, 3),
    ),
    "head": (
        ElasticHead((16,), (48,), (24,), 5, act="swish", mix_bias=False),
        lambda e: e.at(8, 24, 20),
        expanded_head,
        (3, 8, 3, 3),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_layer_of_views_computes_and_learns_what_slicing_does_bit_for_bit(case: Case) -> None:
    elastic, at, sliced, shape = case
    elastic = filled(elastic.double())
    plain = at(elastic).train()
    weights = {name: tensor.detach().clone().requires_grad_() for name, tensor in elastic.named_parameters()}
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    seen, sliced_seen = x.clone().requires_grad_(), x.clone().requires_grad_()

    result, expected = plain(seen), sliced(weights, sliced_seen)
    assert torch.equal(result, expected)
    pull = torch.randn(result.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    result.backward(pull)
    expected.backward(pull)
    assert torch.equal(seen.grad, sliced_seen.grad)
    for name, parameter in elastic.named_parameters():
        wanted = weights[name].grad
        got = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        assert torch.equal(got, torch.zeros_like(parameter) if wanted is None else wanted), name


def test_a_smaller_window_takes_the_center_of_the_position_table() -> None:
    elastic = filled(ElasticRelativePositionBias(5, 3).double())
    bias = elastic.at(3, 2)(3, 3)
    weights = {"table": elastic.table.detach().clone().requires_grad_()}
    expected = reference.position_bias(weights, 3, 2)
    assert torch.equal(bias, expected)
    bias.square().sum().backward()
    expected.square().sum().backward()
    assert torch.equal(elastic.table.grad, weights["table"].grad)
    # Token 0 looks at token 4 of a 3x3 window: one row up and one column to the left of itself.
    assert torch.equal(bias[:, 0, 4], elastic.table[4 - 1, 4 - 1, :2])


def test_stored_statistics_of_a_narrow_batch_norm_are_the_leading_ones_and_move_with_it() -> None:
    elastic = ElasticBatchNorm2d(8, stored_statistics=True)
    elastic.running_mean.copy_(torch.arange(8.0))
    narrow = elastic.at(3)
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    expected = (x - torch.arange(3.0)[:, None, None]) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(narrow.eval()(x), expected)
    narrow.train()(x)
    torch.testing.assert_close(elastic.running_mean[:3], 0.9 * torch.arange(3.0) + 0.1 * x.mean((0, 2, 3)))
    assert torch.equal(elastic.running_mean[3:], torch.arange(3.0, 8))
    assert int(elastic.num_batches_tracked) == 1


def test_an_update_of_the_largest_tensor_shows_in_its_views() -> None:
    conv = filled(ElasticConv2d(4, 4, 3))
    small = conv.at(2, 2)
    with torch.no_grad():
        conv.weight.mul_(2)
    assert torch.equal(small.weight, conv.weight[:2, :2])


def test_attention_in_windows_is_attention_in_every_window_alone() -> None:
    elastic = filled(ElasticAttention(16, 6, activate_first=True).double())
    with torch.no_grad():
        elastic.value_conv.weight.zero_()[:, :, 1, 1] = 1  # a wider one would look over the edge of a window
    x = torch.randn(2, 6, 6, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole, alone = elastic.at(16, 6, 2)(x), elastic.at(16, 3)
    for row in (slice(0, 3), slice(3, 6)):
        for column in (slice(0, 3), slice(3, 6)):
            torch.testing.assert_close(whole[:, row, column], alone(x[:, row, column]), rtol=1e-10, atol=1e-12)


ILLEGAL: dict[str, tuple[Callable[[], object], str]] = {
    "channels": (
        lambda: ElasticConv2d(8, 12).at(9, 12),
        r"ElasticConv2d: in_channels=9 is outside 1\.\.8, the sizes this layer holds",
    ),
    "no channels": (lambda: ElasticLinear(8, 12).at(8, 0), r"ElasticLinear: out_features=0 is outside 1\.\.12"),
    "even kernel": (
        lambda: ElasticDepthwiseConv2d(8, 5).at(8, 4),
        r"ElasticDepthwiseConv2d: kernel_size=4 has no center in a kernel of 5; legal: 1, 3, 5",
    ),
    "kernel": (lambda: ElasticConv2d(8, 8, 3).at(8, 8, 5), r"kernel_size=5 is outside 1\.\.3"),
    "heads": (lambda: ElasticAttention(16, 4).at(12, 4), r"channels=12 is no multiple of head_dim=8"),
    "windows": (lambda: ElasticAttention(16, 4).at(16, 4, 3), r"windows=3 does not divide a map of side 4"),
    "side": (lambda: ElasticRelativePositionBias(4, 2).at(5, 2), r"side=5 is outside 1\.\.4"),
    "switch": (lambda: ElasticSwitchableBatchNorm2d((4,)).at(4, Switch(1)), r"switch \+ 1=2 is outside 1\.\.1"),
    "scale": (lambda: SwitchableScale(2, 2, 8).at(2, 0, 8), r"row \+ 1=3 is outside 1\.\.2"),
    "batch norm": (lambda: ElasticBatchNorm2d(8).at(9), r"num_features=9 is outside 1\.\.8"),
    "layer norm": (lambda: ElasticLayerNorm(8).at(9), r"num_channels=9 is outside 1\.\.8"),
    "expand": (
        lambda: ElasticMBConv((8,), None, (8,)).at(8, 16, 8),
        r"ElasticMBConv: 16 hidden channels, but this block holds no widening convolution",
    ),
    "kept": (
        lambda: ElasticMBConv((8,), None, (8,), shortcut="always").at(8, None, 4),
        r"a block that adds its input has 8 channels in and 4 out; they must be equal",
    ),
    "width of a switch": (
        lambda: ElasticSwitchableBatchNorm2d((4, 8)).at(8, Switch(0)),
        r"num_features=8, but switch 0 has 4 channels",
    ),
    "no switch": (
        lambda: ElasticSwitchableBatchNorm2d((4, 8)).at(8),
        r"a switchable batch norm belongs to one of the listed switches",
    ),
}


@pytest.mark.parametrize(("make", "words"), ILLEGAL.values(), ids=ILLEGAL.keys())
def test_a_size_the_layer_does_not_hold_is_refused_in_words(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_an_elastic_layer_refuses_to_compute() -> None:
    with pytest.raises(TypeError, match=r"ElasticLinear only shares tensors .* call ElasticLinear\.at"):
        ElasticLinear(4, 4)(torch.zeros(1, 4))
