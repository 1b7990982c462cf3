"""Latency tables for the user's own device: measured once, then looked up for whole populations."""

from nasvit.costs.latency.build import build_table
from nasvit.costs.latency.measure import NoisePolicy
from nasvit.costs.latency.plan import Build, BuildSettings
from predictors.latency import LatencyTable, load_table

__all__ = ["Build", "BuildSettings", "LatencyTable", "NoisePolicy", "build_table", "load_table"]
