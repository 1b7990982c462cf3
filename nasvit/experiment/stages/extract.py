"""Stage 3: take the chosen subnets out of the supernet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from nasvit.experiment.stages.subjects import Subject, subjects
from nasvit.experiment.stages.trained_supernet import TrainedSupernet
from nasvit.experiment.workbench import Workbench
from nasvit.export.card import CARD
from nasvit.export.saved import is_saved, save_network
from nasvit.files.records import made_for, write_record
from nasvit.layers.calibration import calibrate
from nasvit.supernets.shared_network import SharedNetwork


def extract(bench: Workbench) -> None:
    """Extract every chosen subnet into ``subnets/NAME/extracted``, unless it is there already.

    Raises:
        FileNotFoundError: if there is no trained supernet or no search result.
        RuntimeError: if the output of an extracted network differs from that of the subnet by a single bit.
    """
    chosen, compute = subjects(bench), bench.compute
    supernet = TrainedSupernet(bench)
    bench.open_images()
    for subject in chosen[compute.rank :: compute.count]:
        asked = _asked(bench, subject, supernet.sha256)
        if not _is_extracted(subject, asked):
            _claim(subject, asked)
            _extract(bench, supernet.network, subject)
    compute.wait()


def _asked(bench: Workbench, subject: Subject, supernet: str) -> dict[str, Any]:
    """Return all that an extracted network depends on."""
    search, images = bench.experiment.search, bench.images
    return {
        "architecture": json.loads(subject.architecture.to_json()),
        "budget": subject.budget.text,
        "calibration": [search.calibration_batches, search.calibration_batch_size],
        "image": list(images.shape_for(subject.spec(bench))),
        "supernet": supernet,
    }


def _record(subject: Subject) -> Path:
    return subject.folder / "extracted-asked.json"


def _is_extracted(subject: Subject, asked: dict[str, Any]) -> bool:
    record = _record(subject)
    return is_saved(subject.folder / "extracted") and record.exists() and made_for(record, asked)


def _claim(subject: Subject, asked: dict[str, Any]) -> None:
    """Record what is extracted now; a card of before, which says that a network is whole, goes first."""
    (subject.folder / "extracted" / CARD).unlink(missing_ok=True)
    write_record(_record(subject), asked)


def _extract(bench: Workbench, supernet: SharedNetwork, subject: Subject) -> None:
    calibration = bench.calibration()
    subnet = calibrate(supernet.at(subject.architecture), calibration)
    network = supernet.extract(subject.architecture, calibration).eval()
    if not _computes_the_same(network, subnet, calibration[0]):
        raise RuntimeError(f"subnet {subject.name} changed when it was extracted; please report this as a bug")
    save(bench, subject, network, subject.folder / "extracted", {"weights": "inherited from the supernet"})


@torch.inference_mode()
def _computes_the_same(network: nn.Module, subnet: nn.Module, images: torch.Tensor) -> bool:
    """Whether two networks compute the same, bit for bit.

    Accelerators may choose other kernels for weights that lie otherwise in memory: there every tensor must be the same.
    """
    if images.device.type == "cpu":
        return all(map(torch.equal, tree_leaves(subnet(images)), tree_leaves(network(images))))
    pairs = zip([*network.parameters(), *network.buffers()], [*subnet.parameters(), *subnet.buffers()], strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def save(
    bench: Workbench, subject: Subject, network: nn.Module, folder: Path, origin: dict[str, Any], fused: bool = False
) -> None:
    """Save a network with its card, and as a program that takes pixels from 0 to 1 and needs PyTorch alone.

    Both take images at the subnet's own resolution, at which its costs were counted.
    """
    images, experiment = bench.images, bench.experiment
    told = {
        **origin,
        "budget": subject.budget.text,
        "data": images.train.name,
        "note": experiment.note,
        "seed": experiment.seed,
        "config": experiment.to_json(),
        **bench.started_from,
    }
    spec = subject.spec(bench)
    card = images.card(spec, told, fused=fused)
    save_network(network, folder, card, program=True, shape=images.shape_for(spec))
