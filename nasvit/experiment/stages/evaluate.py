"""Stage 5: evaluate the results on the test images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nasvit.compute import Compute
from nasvit.experiment.stages.jobs import trained_epochs, trained_kinds
from nasvit.experiment.stages.subjects import Subject, subjects
from nasvit.experiment.stages.trained_supernet import TrainedSupernet
from nasvit.experiment.workbench import Workbench
from nasvit.export.card import CARD
from nasvit.export.saved import WEIGHTS, is_saved, load_saved
from nasvit.files.records import read_json, versions, write_record
from nasvit.files.whole import sha256_of
from nasvit.layers.calibration import calibrate
from nasvit.search.candidates import Candidate

RESULTS = "results.json"
IN_SUPERNET = "supernet"
SCORES = "scores.json"
"""File of the scores that were measured, each under a hash of all that it depends on."""


def evaluate(bench: Workbench) -> list[dict[str, Any]]:
    """Evaluate every subnet on the test images: in the supernet, extracted, fine-tuned, from scratch.

    Each sees images of the size that its saved network takes, so that a score is that of what is shipped. What was
    measured before, of the same weights on the same images, is not measured again. All processes share the images
    out. Writes ``results.json``.

    Returns:
        One row for each subnet: architecture, costs, scores (accuracies from 0 to 1), epochs of every training.

    Raises:
        FileNotFoundError: if a stage before is missing.
    """
    chosen, compute = subjects(bench), bench.compute
    bench.open_images()
    supernet = TrainedSupernet(bench) if bench.experiment.uses_supernet else None
    trained = compute.from_first(lambda: [_trained(bench, each) for each in chosen])
    keys = compute.from_first(lambda: _Keys(bench, supernet).of(chosen, trained))
    scores, measure = Scores(bench.folder / SCORES, compute), _Measuring(bench, supernet)
    rows = []
    for subject, wanted, epochs in zip(chosen, keys, trained, strict=True):
        found = {how: scores.get(key, partial(measure, subject, how)) for how, key in wanted.items()}
        rows.append(_row(bench, subject, found, epochs))
    test_set = bench.images.test
    results = {"test_images": len(test_set), "data": test_set.name, "metric": bench.task.metric.name, "rows": rows}
    results |= bench.experiment.provenance() | bench.started_from | {"device": str(compute)}
    compute.once(lambda: write_record(bench.folder / RESULTS, results))
    return rows


class Scores:
    """Scores in a file, so that none is measured twice.

    Args:
        path: the file; it is written anew, whole, after every measurement.
        compute: the processes, which call everything together.
    """

    def __init__(self, path: Path, compute: Compute) -> None:
        self.path, self.compute = path, compute
        self.known: dict[str, float] = compute.from_first(lambda: read_json(path) if path.exists() else {})

    def get(self, key: str, measure: Callable[[], float]) -> float:
        """Return the score of a key, measured if it is not known."""
        if key not in self.known:
            self.known[key] = measure()
            self.compute.once(lambda: write_record(self.path, self.known))
        return self.known[key]


class _Keys:
    """Hashes of all that the scores of an experiment depend on; made by one process.

    Args:
        bench: the experiment, with its images open.
        supernet: its supernet, if its networks come from one.
    """

    def __init__(self, bench: Workbench, supernet: TrainedSupernet | None) -> None:
        images, search = bench.images, bench.experiment.search
        self.bench, self._supernet = bench, supernet
        self._all = [
            *(versions(), bench.compute.device.type, bench.task.metric.name, images.test.fingerprint),
            *(images.config.crop_pct, images.train.fingerprint),  # which normalization follows from
        ]
        self._calibration = search.calibration_batches, search.calibration_batch_size

    def of(self, chosen: Sequence[Subject], trained: Sequence[Iterable[str]]) -> list[dict[str, str]]:
        """Return the key of each network of each subnet, by how it was trained."""
        return [self._of(*each) for each in zip(chosen, trained, strict=True)]

    def _of(self, subject: Subject, trained: Iterable[str]) -> dict[str, str]:
        folders = {how: subject.folder / how for how in trained}
        keys = {how: self._key([sha256_of(each / name) for name in (CARD, WEIGHTS)]) for how, each in folders.items()}
        if self._supernet is None:
            return keys
        side = self.bench.images.shape_for(subject.spec(self.bench))[1]
        inherited = [self._supernet.sha256, subject.architecture.to_json(), side, self._calibration]
        return {IN_SUPERNET: self._key(inherited), **keys}

    def _key(self, of_network: Sequence[Any]) -> str:
        return hashlib.sha256(json.dumps([self._all, of_network]).encode()).hexdigest()


class _Measuring:
    """Measures networks on the test images.

    Args:
        bench: the experiment.
        supernet: its supernet, if its networks come from one.
    """

    def __init__(self, bench: Workbench, supernet: TrainedSupernet | None) -> None:
        self.bench, self._supernet = bench, supernet

    def __call__(self, subject: Subject, how: str) -> float:
        """Return the score of a subnet that was trained in one way."""
        images, compute = self.bench.images, self.bench.compute
        if how == IN_SUPERNET:
            assert self._supernet is not None
            supernet = self._supernet.network
            side: int | None = images.shape_for(subject.spec(self.bench))[1]
            network = calibrate(supernet.at(subject.architecture), self.bench.calibration(), compute=compute)
        else:
            saved = load_saved(subject.folder / how)
            network, side = compute.place(saved.network), saved.card.side
        return self.bench.task.evaluate(network, images.test_loader(side).evaluation_batches(), compute).value


def _trained(bench: Workbench, subject: Subject) -> dict[str, int]:
    """Return the kinds of networks that there are of a subnet, and the epochs that each was trained for by itself."""
    extracted = {"extracted": 0} if is_saved(subject.folder / "extracted") else {}
    return extracted | {how: trained_epochs(subject, how) for how in trained_kinds(bench.experiment, subject)}


def _row(bench: Workbench, subject: Subject, scores: dict[str, float], epochs: dict[str, int]) -> dict[str, Any]:
    found = Candidate(subject.architecture, subject.training.recipe)
    return {"name": subject.name, "budget": subject.budget.text, **found.to_json()} | {
        **bench.costs(found),
        "scores": scores,
        "epochs": epochs,
    }
