"""The blocks of MobileNetV4, and its smallest network as a subnet of a space."""

from __future__ import annotations

import pytest
import timm
import torch

import search_spaces
from nasvit.costs.counting import count
from nasvit.elastic import ElasticUniversalBottleneck
from nasvit.supernets.supernet import build_subnet
from search_spaces import Architecture
from tests.nasvit.filled import filled

CONV_SMALL = Architecture(
    224,
    (32, 32, 64, 96, 96, 128, 128, 128, 1280),
    (1, 1, 5, 1, 2, 2, 2),
    (3, 3, 3, 0, 5, 5, 3),
    (1, 3, 2, 4, 4, 3, 4),
    start_kernel_size=(None, None, 0, 3, 5, 0, 0),
    first_start_kernel_size=(None, None, 5, None, 3, None, None),
    first_kernel_size=(None, None, 5, None, 3, None, None),
    first_expand_ratio=(None, None, 3, None, 6, 4, None),
)


@torch.no_grad()
def test_mobilenetv4_conv_small_is_a_subnet_and_computes_what_timm_does() -> None:
    theirs = filled(timm.create_model("mobilenetv4_conv_small", num_classes=5)).eval()
    ours = build_subnet(search_spaces.load("mnv4"), CONV_SMALL, 5).eval()
    cost, expected = count(ours, 3, 224, 224), count(theirs, 3, 224, 224)
    assert (cost.macs, cost.params) == (expected.macs, expected.params - 2 * 1280)  # without the last batch norm
    norm = theirs.norm_head
    torch.nn.init.zeros_(norm.bias)
    norm.weight.fill_((1 + norm.eps) ** 0.5)  # so that it changes nothing
    given = [each for name, each in theirs.state_dict().items() if "tracked" not in name and "norm_head" not in name]
    tensors = [each for name, each in ours.state_dict().items() if "tracked" not in name]
    for tensor, other in zip(tensors, given, strict=True):
        tensor.copy_(other)
    ours.resize = None
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-5)


def test_a_convolution_that_a_block_does_not_hold_is_refused() -> None:
    block = ElasticUniversalBottleneck((8,), (16,), (8,), start_kernel_size=0, kernel_size=3, stride=2)
    with pytest.raises(ValueError, match="start_kernel_size=3, but this block holds no such convolution"):
        block.at(8, 16, 8, 3, 3)
    with pytest.raises(ValueError, match="kernel_size=0, but that convolution has the block's stride"):
        block.at(8, 16, 8, 0, 0)
