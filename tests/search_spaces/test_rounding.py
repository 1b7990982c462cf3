from __future__ import annotations

import pytest

from search_spaces import MBConvOptions, make_divisible


@pytest.mark.parametrize(("value", "expected"), [(1, 8), (8, 8), (11.9, 16), (12, 16), (18, 24), (20, 24), (96, 96)])
def test_channels_round_to_the_nearest_multiple_but_never_below_ninety_percent(value: float, expected: int) -> None:
    assert make_divisible(value) == expected
    assert make_divisible(value) >= 0.9 * value


def test_hidden_channels_follow_the_active_input_width() -> None:
    options = MBConvOptions()
    assert options.hidden_channels(24, 6) == 144
    assert options.hidden_channels(20, 3) == 64
    assert options.squeeze_channels(144) == 40
    assert (options.squeeze_channels(104), MBConvOptions(rounding_share=0.95).squeeze_channels(104)) == (24, 32)
    with pytest.raises(ValueError, match="divisor: 0 is illegal"):
        MBConvOptions(divisor=0)
