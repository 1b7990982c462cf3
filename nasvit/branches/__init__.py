"""Convolutions trained as several branches, and made one again before they are deployed."""

from nasvit.branches.fuse import fuse
from nasvit.branches.reparameterize import reparameterize

__all__ = ["fuse", "reparameterize"]
