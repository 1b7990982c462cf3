"""Search under hard limits: engine, measuring of inherited weights, Pareto front."""

from __future__ import annotations

from nasvit.search.engine import EngineSettings, Recommendation, SearchEngine
from nasvit.search.run import SearchResult, SearchSettings, search

__all__ = ["EngineSettings", "Recommendation", "SearchEngine", "SearchResult", "SearchSettings", "search"]
