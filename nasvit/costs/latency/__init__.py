"""Latency tables for the user's own device: measured once, then looked up for whole populations."""

from nasvit.latency.build import build_table
from nasvit.latency.measure import NoisePolicy
from nasvit.latency.plan import Build, BuildSettings
from predictors.latency import LatencyTable, load_table

__all__ = ["Build", "BuildSettings", "LatencyTable", "NoisePolicy", "build_table", "load_table"]
