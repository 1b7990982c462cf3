"""Which kinds of blocks stages are made of, and which fields of a stage size them: the only table of them here.

:mod:`nasvit.elastic.registry` holds the classes of the blocks, by the same names.
"""

from __future__ import annotations

BLOCK_FIELDS: dict[str, tuple[str, ...]] = {
    "mbconv": ("kernel_size", "expand_ratio", "squeeze_excite"),
    "ghost": ("kernel_size", "expand_ratio", "squeeze_excite"),
    "transformer": ("mlp_ratio", "windows"),
    "universal": ("start_kernel_size", "kernel_size", "expand_ratio"),
    "conv_pair": ("kernel_size", "expand_ratio"),
}
"""For every kind of block, the fields of a stage that size it, beside width, depth and stride."""

STAGE_BLOCKS: dict[str, tuple[str, str]] = {
    "mbconv": ("mbconv", "mbconv"),
    "hybrid": ("mbconv", "transformer"),
    "ghost": ("ghost", "ghost"),
    "universal": ("universal", "universal"),
    "conv_pair": ("conv_pair", "conv_pair"),
}
"""For every kind of stage, the kind of its first block and that of the blocks after it."""

OMITTED: dict[str, tuple[str, ...]] = {"universal": ("start_kernel_size", "kernel_size")}
"""For kinds of blocks that can be without a convolution, the kernels that may be 0, which means that."""
