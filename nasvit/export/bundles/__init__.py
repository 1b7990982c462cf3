"""Folders for people, made of a saved network and its exported files: a browser page, and what a model hub takes."""

from __future__ import annotations

from nasvit.export.bundles.contract import Bundle, Told, bundle
from nasvit.export.bundles.hub import HubFolder
from nasvit.export.bundles.web import WebPage

__all__ = ["BUNDLES", "Bundle", "Told", "bundle"]

BUNDLES: dict[str, Bundle] = {each.name: each for each in (WebPage(), HubFolder())}
"""All bundles by name."""
