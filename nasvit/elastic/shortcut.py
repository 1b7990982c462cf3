"""Check of the channels of blocks that add their input."""

from __future__ import annotations


def check_kept(in_channels: int, out_channels: int) -> None:
    """Raise if a block that adds its input should change its channels.

    Raises:
        ValueError: naming both numbers.
    """
    if in_channels != out_channels:
        raise ValueError(
            f"channel plan: a block that adds its input has {in_channels} channels in and {out_channels} out; "
            "they must be equal"
        )
