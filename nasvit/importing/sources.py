"""All families of checkpoints that can be imported, by the name a user gives."""

from __future__ import annotations

from nasvit.importing import attentive, fbnetv3, ghostnetv3, netaug, slimmable
from nasvit.importing.families import Family

_FAMILIES = (
    attentive.family("nasvit", "nasvit_release", "the NASViT supernet (Gong et al., 2022)"),
    attentive.family("alphanet", "alphanet", "the AlphaNet supernet (Wang et al., 2021)"),
    attentive.family("attentive_nas", "attentive_nas", "the AttentiveNAS supernet (Wang et al., 2021)"),
    *fbnetv3.families(),
    *slimmable.FAMILIES,
    *netaug.FAMILIES,
    *ghostnetv3.FAMILIES,
)

SOURCES: dict[str, Family] = {family.source: family for family in _FAMILIES}
"""Families by source name."""


def family_of(source: str) -> Family:
    """Return a family.

    Raises:
        ValueError: if there is none of that name.
    """
    if source not in SOURCES:
        raise ValueError(f"source {source!r} is unknown; legal: {', '.join(SOURCES)}")
    return SOURCES[source]
