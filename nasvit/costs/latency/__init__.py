"""Latency tables for the user's own device: measured once, then looked up for whole populations."""

from nasvit.costs.latency.build import build_table
from nasvit.costs.latency.measure import NoisePolicy
from nasvit.costs.latency.plan import MeasurementPlan, MeasurementSettings
from nasvit.costs.latency.subjects import SpaceSubject
from predictors.latency import LatencyTable, load_table

__all__ = [
    "LatencyTable",
    "MeasurementPlan",
    "MeasurementSettings",
    "NoisePolicy",
    "SpaceSubject",
    "build_table",
    "load_table",
]
