"""Small, fast vision models for a budget you can name.

Train a supernet once, search it under hard limits, extract the chosen subnet as plain PyTorch, fine-tune it, ship it::

    import nasvit, search_spaces

    space = search_spaces.load("micro32")
    supernet = nasvit.Supernet(space, classes=10)
    subnet = supernet.at(space.smallest)          # an ordinary nn.Module that shares the supernet's weights
    network = supernet.extract(space.smallest)    # an independent copy
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasvit.calibration import calibrate, track_statistics
    from nasvit.config import Experiment
    from nasvit.cost import Cost, count
    from nasvit.cost_tables import cost_table
    from nasvit.evaluation import Score, evaluate
    from nasvit.experiment import Workbench
    from nasvit.export import export_program, load_network, save_network
    from nasvit.pipeline import open_workbench, run
    from nasvit.supernet import Supernet, build

_PLACES = {
    "calibrate": "calibration",
    "track_statistics": "calibration",
    "Experiment": "config",
    "Cost": "cost",
    "count": "cost",
    "cost_table": "cost_tables",
    "Score": "evaluation",
    "evaluate": "evaluation",
    "Workbench": "experiment",
    "export_program": "export",
    "load_network": "export",
    "save_network": "export",
    "open_workbench": "pipeline",
    "run": "pipeline",
    "Supernet": "supernet",
    "build": "supernet",
}

__all__ = [
    "Cost",
    "Experiment",
    "Score",
    "Supernet",
    "Workbench",
    "build",
    "calibrate",
    "cost_table",
    "count",
    "evaluate",
    "export_program",
    "load_network",
    "open_workbench",
    "run",
    "save_network",
    "track_statistics",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import nasvit`` is quick."""
    if name not in _PLACES:
        raise AttributeError(f"module 'nasvit' has no attribute {name!r}; public: {', '.join(__all__)}")
    return getattr(importlib.import_module(f"nasvit.{_PLACES[name]}"), name)
