"""What a latency table is made of, by its name: a search space, a network, or what an experiment searches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import search_spaces
from nasvit.any_network import Elastic
from nasvit.costs.latency.plan import MeasurementSettings
from nasvit.costs.latency.subjects import SpaceSubject, Subject
from nasvit.experiment.config import Experiment
from nasvit.experiment.dense_origin import origin_for
from nasvit.experiment.images import Images
from nasvit.experiment.origin import ImagesOf, OfNetwork
from nasvit.registry import spec_of
from search_spaces.ranges import Channels, Checked, Pixels
from search_spaces.reading import read_yaml


@dataclass(frozen=True)
class Asked(Checked):
    """Images of a network that is measured without an experiment.

    Args:
        image_size: side of the images in pixels; None: that which the network was designed for.
        image_channels: their channels.
    """

    image_size: Pixels | None = None
    image_channels: Channels = 3


def subject_of(
    name: str, settings: MeasurementSettings, asked: Asked, elastic: Elastic
) -> tuple[Subject[Any], MeasurementSettings]:
    """Return what a latency table is made of, and the settings with the classes of its images.

    Args:
        name: a search space, its file, a network, or the file of an experiment.
        settings: how it is measured.
        asked: images of a network.
        elastic: what is decided in a network.

    Raises:
        ValueError: if there is no such thing, or the images or what is decided are given where they are known.
    """
    if _is_experiment(name):
        _refuse_given(name, asked, elastic, "says it")
        return _of_experiment(Path(name), settings)
    if not _is_network(name):
        _refuse_given(name, asked, elastic, "is a search space")
        return SpaceSubject(search_spaces.load(name)), settings
    side = asked.image_size or spec_of(name, image_channels=asked.image_channels).side
    images = ImagesOf((asked.image_channels, side, side), tuple(map(str, range(settings.classes))))
    return OfNetwork(name, images, elastic).subject, settings


def _is_experiment(name: str) -> bool:
    if not name.endswith((".yaml", ".yml")) or not Path(name).is_file():
        return False
    try:
        content = read_yaml(name).value
    except ValueError:
        return False  # who reads it as a space says in which line
    return isinstance(content, dict) and "data" in content


def _is_network(name: str) -> bool:
    """Return whether a name is that of a network; one that is nothing at all is refused as a space."""
    if name.endswith((".yaml", ".yml")) or name in search_spaces.names():
        return False
    if ":" in name:
        return True
    try:
        spec_of(name)
    except ValueError:
        return False
    return True


def _refuse_given(name: str, asked: Asked, elastic: Elastic, why: str) -> None:
    given = {"--image-size": asked != Asked(), "--elastic": elastic != Elastic()}
    for option, is_given in given.items():
        if is_given:
            alone = "is for a network that is named without an experiment"
            raise ValueError(f"{option} {alone}, and {name} {why}; leave it out")


def _of_experiment(path: Path, settings: MeasurementSettings) -> tuple[Subject[Any], MeasurementSettings]:
    experiment = Experiment.load(path)
    images = Images(experiment.data, seed=experiment.seed, split_seed=experiment.seed, head=experiment.whole_head)
    classes = len(images.classes)
    if settings.classes not in (MeasurementSettings().classes, classes):
        raise ValueError(f"--classes is {settings.classes}, and the images of {path} have {classes}; leave it out")
    return origin_for(experiment, images).subject, replace(settings, classes=classes)
