"""1x1 convolutions that are matrix products on a GPU."""

from __future__ import annotations

import pytest
import torch

from nasvit.elastic import ElasticConv2d
from nasvit.layers.pointwise import PointwiseConv2d


def test_elastic_convolutions_of_one_pixel_are_pointwise() -> None:
    assert isinstance(ElasticConv2d(6, 8).at(3, 5), PointwiseConv2d)
    assert not isinstance(ElasticConv2d(6, 8, 3).at(3, 5), PointwiseConv2d)
    assert isinstance(ElasticConv2d(6, 8, 3).at(3, 5, 1), PointwiseConv2d)


@pytest.mark.parametrize(("stride", "bias"), [(1, True), (1, False), (2, True)])
def test_the_matrix_product_is_the_convolution(stride: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer = PointwiseConv2d(6, 8, stride=stride, bias=bias).double()
    for layout in (torch.channels_last, torch.contiguous_format):
        x = torch.randn(2, 6, 5, 4, dtype=torch.float64).contiguous(memory_format=layout)
        product = layer.product(x)
        assert (product is not None) == (stride == 1 and layout == torch.channels_last)
        if product is not None:
            torch.testing.assert_close(product, layer(x), rtol=1e-12, atol=1e-12)
            assert product.is_contiguous(memory_format=torch.channels_last)
