"""Weights to start from: copied from any source into any network, with a report of everything that was done."""

from nasvit.importing.transfer.load import load_weights
from nasvit.importing.transfer.report import Report
from nasvit.importing.transfer.source import Source, read_source
from nasvit.importing.transfer.subnets import load_supernet

__all__ = ["Report", "Source", "load_supernet", "load_weights", "read_source"]
