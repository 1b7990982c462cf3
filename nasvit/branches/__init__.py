"""Convolutions trained as several branches, and made one again before they are deployed."""

from nasvit.branches.fuse import fuse
from nasvit.branches.reparameterize import Branches, reparameterize

__all__ = ["Branches", "fuse", "reparameterize"]
