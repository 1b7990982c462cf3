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
    from nasvit.any_network import Elastic, ElasticModel, elasticize, slimmable
    from nasvit.backbones import features
    from nasvit.costs.counting import Cost, count
    from nasvit.costs.tables import cost_table
    from nasvit.experiment.config import Experiment
    from nasvit.experiment.pipeline import open_workbench, run
    from nasvit.experiment.starting import load_weights
    from nasvit.experiment.workbench import Workbench
    from nasvit.export.card import Card
    from nasvit.export.program import export_program
    from nasvit.export.saved import load_network, load_saved, save_network
    from nasvit.layers.calibration import calibrate, track_statistics
    from nasvit.registry import create
    from nasvit.supernets.supernet import Supernet, build_subnet
    from nasvit.tasks.classification import ClassificationScore, evaluate

_PLACES = {
    "Card": "export.card",
    "ClassificationScore": "tasks.classification",
    "Cost": "costs.counting",
    "Elastic": "any_network",
    "ElasticModel": "any_network",
    "Experiment": "experiment.config",
    "Supernet": "supernets.supernet",
    "Workbench": "experiment.workbench",
    "build_subnet": "supernets.supernet",
    "calibrate": "layers.calibration",
    "cost_table": "costs.tables",
    "count": "costs.counting",
    "create": "registry",
    "elasticize": "any_network",
    "evaluate": "tasks.classification",
    "features": "backbones",
    "export_program": "export.program",
    "load_network": "export.saved",
    "load_saved": "export.saved",
    "load_weights": "experiment.starting",
    "open_workbench": "experiment.pipeline",
    "run": "experiment.pipeline",
    "save_network": "export.saved",
    "slimmable": "any_network",
    "track_statistics": "layers.calibration",
}

__all__ = [
    "Card",
    "ClassificationScore",
    "Cost",
    "Elastic",
    "ElasticModel",
    "Experiment",
    "Supernet",
    "Workbench",
    "build_subnet",
    "calibrate",
    "cost_table",
    "count",
    "create",
    "elasticize",
    "evaluate",
    "export_program",
    "features",
    "load_network",
    "load_saved",
    "load_weights",
    "open_workbench",
    "run",
    "save_network",
    "slimmable",
    "track_statistics",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import nasvit`` is quick."""
    if name == "__version__":
        return importlib.import_module("nasvit.files.records").versions()["nasvit"]
    if name not in _PLACES:
        raise AttributeError(f"module 'nasvit' has no attribute {name!r}; public: {', '.join(__all__)}")
    return getattr(importlib.import_module(f"nasvit.{_PLACES[name]}"), name)
