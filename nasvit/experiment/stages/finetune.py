"""Stage 4: train the extracted subnets on, and for comparison the same networks from scratch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nasvit.experiment.stages.extract import save
from nasvit.experiment.stages.subjects import Subject, subjects
from nasvit.experiment.stages.train_network import train_network
from nasvit.experiment.stages.trials import finalist_weights
from nasvit.experiment.workbench import Workbench, made_for, write_json
from nasvit.export.saved import CARD, load_network
from nasvit.layers import Network
from nasvit.layers.calibration import track_statistics
from nasvit.search.candidates import Candidate
from nasvit.supernets.supernet import build
from nasvit.training.processes import once
from search_spaces.recipe import Recipe

_KINDS = {"inherited": None, "finetune": "finetuned", "scratch": "scratch"}  # what the search has trained already


def finetune(bench: Workbench) -> None:
    """Train every extracted subnet on into ``subnets/NAME/finetuned``; with ``compare.scratch`` also into ``scratch``.

    Each by the recipe that was found for it, or else by the experiment's ``finetune``. Without a supernet there is
    only ``scratch``. Finished networks are left alone, an unfinished one goes on where it was stopped; one that was
    trained for another search result or by another recipe is trained anew.

    Raises:
        FileNotFoundError: if a subnet was not extracted yet.
    """
    compare, inherits = bench.experiment.compare, bench.experiment.search.uses_supernet
    for subject in subjects(bench):
        if inherits:
            if not (subject.folder / "extracted" / CARD).exists():
                raise FileNotFoundError(f"subnet {subject.name} is not extracted yet; run the extract stage first")
            _train_to(bench, subject, "finetuned", subject.recipe)
        if compare.scratch or not inherits:
            _train_to(bench, subject, "scratch", _from_scratch(bench, subject.recipe))


def _from_scratch(bench: Workbench, recipe: Recipe) -> Recipe:
    """Return the recipe for training from scratch: the same, or with the learning rate that the comparison gives."""
    rate, inherits = bench.experiment.compare.learning_rate, bench.experiment.search.uses_supernet
    return recipe if rate is None or not inherits else replace(recipe, learning_rate=rate)


def _train_to(bench: Workbench, subject: Subject, how: str, recipe: Recipe) -> None:
    folder, training = subject.folder / how, subject.folder / f"{how}-training"
    asked = {"architecture": json.loads(subject.architecture.to_json()), "recipe": recipe.to_json()}
    once(lambda: _claim(training / "asked.json", asked, (folder, training)))
    if (folder / CARD).exists():
        return
    if how == "finetuned":
        network = load_network(subject.folder / "extracted")
    else:
        network = build(bench.space, subject.architecture, len(bench.classes), seed=bench.experiment.seed)
    trained = _finalist(bench, subject, how, network, recipe)
    if trained is None:
        trained = train_network(bench, network, recipe, training, f"{subject.name} {how}")
    once(lambda: save(bench, subject, trained, folder, {"weights": how, "recipe": recipe.to_json()}))


def _finalist(bench: Workbench, subject: Subject, how: str, network: Network, recipe: Recipe) -> Network | None:
    """Return the network with the weights that the search trained already, in just this way, if it did."""
    weights = finalist_weights(bench, Candidate(subject.architecture, recipe))
    if how != _KINDS[bench.experiment.search.evaluate] or not weights.exists():
        return None
    track_statistics(network)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()


def _claim(record: Path, asked: dict[str, Any], folders: Sequence[Path]) -> None:
    """Write down what is trained for, and remove what was trained for another search result or recipe."""
    if not made_for(record, asked):
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    write_json(record, asked)
