"""Stage 3: take the chosen subnets out of the supernet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from nasvit.experiment.provenance import provenance
from nasvit.experiment.stages.subjects import Subject, subjects
from nasvit.experiment.stages.train import load_supernet
from nasvit.experiment.workbench import Workbench
from nasvit.export.saved import PROGRAM, export_program, save_network
from nasvit.layers import Network
from nasvit.layers.calibration import calibrate


def extract(bench: Workbench) -> None:
    """Extract every chosen subnet into ``subnets/NAME/extracted``.

    Raises:
        FileNotFoundError: if there is no trained supernet or no search result.
        RuntimeError: if an extracted network does not compute, bit for bit, what the subnet computed.
    """
    supernet, calibration = load_supernet(bench), bench.calibration()
    for subject in subjects(bench):
        subnet = calibrate(supernet.at(subject.architecture), calibration)
        network = supernet.extract(subject.architecture, calibration).eval()
        with torch.inference_mode():
            if not torch.equal(subnet(calibration[0]), network(calibration[0])):
                raise RuntimeError(f"subnet {subject.name} changed when it was extracted; please report this as a bug")
        save(bench, subject, network, subject.folder / "extracted", {"weights": "inherited from the supernet"})


def save(bench: Workbench, subject: Subject, network: Network, folder: Path, origin: dict[str, Any]) -> None:
    """Save a network with its card, and as a program that takes pixels from 0 to 1 and needs PyTorch alone."""
    images, normalization = bench.data.train, bench.normalization
    side = bench.experiment.data.image_size or (images.image_size or (0,))[0]
    card = {
        **origin,
        "budget": subject.budget,
        "classes": list(bench.classes),
        "architecture": json.loads(subject.architecture.to_json()),
        "image": {"channels": bench.space.image_channels, "side": side},
        "normalization": {"mean": list(normalization.mean), "deviation": list(normalization.std)},
        "data": images.name,
        "note": bench.experiment.note,
        **provenance(bench.experiment),
    }
    folder.mkdir(parents=True, exist_ok=True)
    export_program(
        network,
        folder / PROGRAM,
        shape=(bench.space.image_channels, side, side),
        mean=normalization.mean,
        deviation=normalization.std,
    )
    save_network(network, folder, space=bench.space, architecture=subject.architecture, card=card)  # its card is last
