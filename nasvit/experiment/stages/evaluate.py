"""Stage 5: what came out, on the test images."""

from __future__ import annotations

from typing import Any

from nasvit.experiment.provenance import provenance
from nasvit.experiment.stages.subjects import Subject, subjects
from nasvit.experiment.stages.train import load_supernet
from nasvit.experiment.workbench import Workbench, write_json
from nasvit.export.saved import CARD, load_network
from nasvit.layers.calibration import calibrate
from nasvit.search.candidates import Candidate
from nasvit.tasks.classification import evaluate as evaluate_network

TRAINED = ("extracted", "finetuned", "scratch")


def evaluate(bench: Workbench) -> list[dict[str, Any]]:
    """Evaluate every subnet on the test images: in the supernet, extracted, fine-tuned, from scratch.

    Writes ``results.json``.

    Returns:
        One row for each subnet: what it is, what it costs, its accuracies (0 to 1).

    Raises:
        FileNotFoundError: if a stage before is missing.
    """
    inherits = bench.experiment.search.uses_supernet
    supernet, calibration = load_supernet(bench) if inherits else None, bench.calibration()
    test = bench.evaluation_loader(bench.test)
    rows = []
    for subject in subjects(bench):
        accuracies = {}
        if supernet is not None:
            subnet = calibrate(supernet.at(subject.architecture), calibration)
            accuracies["supernet"] = evaluate_network(subnet, test.evaluation_batches()).accuracy
        for how in TRAINED:
            if (subject.folder / how / CARD).exists():
                network = load_network(subject.folder / how)
                accuracies[how] = evaluate_network(network, test.evaluation_batches()).accuracy
        rows.append(_row(bench, subject, accuracies))
    results = {"test_images": len(bench.test), "data": bench.test.name, "rows": rows, **provenance(bench.experiment)}
    write_json(bench.folder / "results.json", results)
    return rows


def _row(bench: Workbench, subject: Subject, accuracies: dict[str, float]) -> dict[str, Any]:
    found = Candidate(subject.architecture, subject.recipe)
    return {"name": subject.name, "budget": subject.budget, **found.to_json()} | {
        **bench.costs(found),
        "accuracy": accuracies,
    }
