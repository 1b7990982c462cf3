"""Convolutions trained as several branches, and fused into one before deployment."""

from nasvit.branches.fuse import fuse
from nasvit.branches.reparameterize import Branches, reparameterize

__all__ = ["Branches", "fuse", "reparameterize"]
