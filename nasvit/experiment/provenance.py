"""What a number needs beside it to be made again."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from functools import cache
from importlib import metadata
from typing import Any

from nasvit.experiment.config import Experiment

PACKAGES = ("nasvit", "torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn")


def provenance(experiment: Experiment) -> dict[str, Any]:
    """Return the configuration, seed and versions that an experiment's results depend on."""
    return {"seed": experiment.seed, "config": plain_config(experiment), "versions": versions()}


def plain_config(experiment: Experiment) -> dict[str, Any]:
    """Return an experiment as what JSON holds, without the folder that results go to."""
    config: dict[str, Any] = json.loads(json.dumps(asdict(experiment), default=str))
    del config["output"]
    return config


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
