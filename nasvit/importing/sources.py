"""All releases that can be imported, by the name that users give."""

from __future__ import annotations

from nasvit.importing import attentive, fbnetv3, ghostnetv3, netaug, slimmable
from nasvit.importing.releases import Release

_RELEASES = (
    attentive.release("nasvit", "nasvit_release", "the NASViT supernet (Gong et al., 2022)"),
    attentive.release("alphanet", "alphanet", "the AlphaNet supernet (Wang et al., 2021)"),
    attentive.release("attentive_nas", "attentive_nas", "the AttentiveNAS supernet (Wang et al., 2021)"),
    *fbnetv3.releases(),
    *slimmable.RELEASES,
    *netaug.RELEASES,
    *ghostnetv3.RELEASES,
)

SOURCES: dict[str, Release] = {release.source: release for release in _RELEASES}
"""Releases by the name that users give."""


def release_of(source: str) -> Release:
    """Return the release of a name.

    Raises:
        ValueError: if there is no release of that name.
    """
    if source not in SOURCES:
        raise ValueError(f"source {source!r} is unknown; legal: {', '.join(SOURCES)}")
    return SOURCES[source]
