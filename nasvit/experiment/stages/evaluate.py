"""Stage 5: evaluate the results on the test images."""

from __future__ import annotations

from typing import Any

from nasvit.experiment.stages.jobs import trained_epochs, trained_kinds
from nasvit.experiment.stages.subjects import Subject, subjects
from nasvit.experiment.stages.train import load_supernet
from nasvit.experiment.workbench import Workbench
from nasvit.export.saved import is_saved, load_network
from nasvit.layers.calibration import calibrate
from nasvit.records import write_json
from nasvit.search.candidates import Candidate

RESULTS = "results.json"


def evaluate(bench: Workbench) -> list[dict[str, Any]]:
    """Evaluate every subnet on the test images: in the supernet, extracted, fine-tuned, from scratch.

    All processes share the images out. Writes ``results.json``.

    Returns:
        One row for each subnet: architecture, costs, scores (accuracies from 0 to 1), epochs of every training.

    Raises:
        FileNotFoundError: if a stage before is missing.
    """
    inherits = bench.experiment.search.uses_supernet
    supernet, calibration, compute = load_supernet(bench) if inherits else None, bench.calibration(), bench.compute
    test = bench.images.evaluation_loader(bench.images.test)
    rows, chosen = [], subjects(bench)
    found = compute.from_first(lambda: [_trained(bench, each) for each in chosen])
    for subject, epochs in zip(chosen, found, strict=True):
        scores = {}
        if supernet is not None:
            subnet = calibrate(supernet.at(subject.architecture), calibration, compute=compute)
            scores["supernet"] = bench.task.evaluate(subnet, test.evaluation_batches(), compute).value
        for how in epochs:
            network = compute.place(load_network(subject.folder / how))
            scores[how] = bench.task.evaluate(network, test.evaluation_batches(), compute).value
        rows.append(_row(bench, subject, scores, epochs))
    test_set = bench.images.test
    results = {"test_images": len(test_set), "data": test_set.name, "metric": bench.task.metric.name, "rows": rows}
    results |= bench.experiment.provenance() | {"device": str(compute)}
    compute.once(lambda: write_json(bench.folder / RESULTS, results))
    return rows


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
