"""GhostNetV3: ghost modules with branches that become one convolution."""

from nasvit.ghost.network import GhostOptions, ghostnet_v3

__all__ = ["GhostOptions", "ghostnet_v3"]
