"""The streams and fills of the golden folders."""

from __future__ import annotations

import zlib

import numpy as np

from tests.parity import streams
from tests.parity.golden import WHOLE
from tests.parity.released import crc32, read_layout
from tests.shared import needs_shared


def test_the_stream_is_that_of_the_rule() -> None:
    key = zlib.crc32(b"first_conv.conv.conv.weight")
    assert key == 1276312105
    raw = [14962482569808707678, 3301157774676483530, 14177598769377180764]
    assert np.array_equal(streams.uniform("first_conv.conv.conv.weight", 3), [(r >> 11) * 2.0**-53 for r in raw])
    expected = [0.82509431, 0.43571950, 0.65772929, 0.83248783]
    assert np.allclose(streams.uniform("a.weight", 4), expected, atol=5e-9)


def test_tensors_have_the_checksums_of_the_rules() -> None:
    expected = {
        ("first_conv.conv.conv.weight", (24, 3, 3, 3)): "ba47a235",
        ("first_conv.bn.bn.weight", (24,)): "91012adf",
        ("first_conv.bn.bn.running_var", (24,)): "cd06aa9d",
        ("blocks.0.mobile_inverted_conv.rescale", (24,)): "a1a15707",
        ("blocks.7.mobile_inverted_conv.depth_conv.se.fc.expand.bias", (192,)): "cbf67862",
        ("blocks.14.rescale_mlp", (10, 8, 72)): "3b3d19ef",
        ("blocks.14.attn.relative_position_bias_table", (1225, 9)): "c3f4ed1d",
        ("blocks.14.attn.relative_position_index", (324, 324)): "d4d7c273",
        ("blocks.14.attn.proj_w.linear.bias", (9,)): "8b2b910a",
        ("last_conv.final_expand_layer.bn.bn.running_mean", (1344,)): "b2fbdf25",
    }
    assert {key: crc32(streams.nasvit_tensor(*key)) for key in expected} == expected


def test_inputs_have_the_checksums_of_the_rules() -> None:
    assert crc32(streams.nasvit_input("input:p00_min", (2, 3, 192, 192)).float()) == "80cebba8"
    assert crc32(streams.alphanet_input("golden", (2, 3, 160, 160)).float()) == "ce066c29"
    assert crc32(streams.alphanet_input("step", (4, 3, 160, 160)).float()) == "a17fbfca"


@needs_shared
def test_all_weights_of_nasvit_together_have_the_checksum_of_the_rule() -> None:
    checksum = 0
    for name, shape in read_layout(WHOLE / "nasvit").items():
        checksum = zlib.crc32(streams.nasvit_tensor(name, shape).numpy().tobytes(), checksum)
    assert f"{checksum:08x}" == "07738501"
