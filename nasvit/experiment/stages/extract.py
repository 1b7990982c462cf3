"""Stage 3: take the chosen subnets out of the supernet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from nasvit.experiment.stages.subjects import Subject, subjects
from nasvit.experiment.stages.train import load_supernet
from nasvit.experiment.workbench import Workbench
from nasvit.export.saved import save_network
from nasvit.layers.calibration import calibrate


def extract(bench: Workbench) -> None:
    """Extract every chosen subnet into ``subnets/NAME/extracted``.

    Raises:
        FileNotFoundError: if there is no trained supernet or no search result.
        RuntimeError: if the output of an extracted network differs from that of the subnet by a single bit.
    """
    supernet, calibration, compute = load_supernet(bench), bench.calibration(), bench.compute
    for subject in subjects(bench)[compute.rank :: compute.count]:
        subnet = calibrate(supernet.at(subject.architecture), calibration)
        network = supernet.extract(subject.architecture, calibration).eval()
        if not _computes_the_same(network, subnet, calibration[0]):
            raise RuntimeError(f"subnet {subject.name} changed when it was extracted; please report this as a bug")
        save(bench, subject, network, subject.folder / "extracted", {"weights": "inherited from the supernet"})
    compute.wait()


@torch.inference_mode()
def _computes_the_same(network: nn.Module, subnet: nn.Module, images: torch.Tensor) -> bool:
    """Whether two networks compute the same, bit for bit.

    Accelerators may choose other kernels for weights that lie otherwise in memory: there every tensor must be the same.
    """
    if images.device.type == "cpu":
        return torch.equal(subnet(images), network(images))
    pairs = zip([*network.parameters(), *network.buffers()], [*subnet.parameters(), *subnet.buffers()], strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def save(
    bench: Workbench, subject: Subject, network: nn.Module, folder: Path, origin: dict[str, Any], fused: bool = False
) -> None:
    """Save a network with its card, and as a program that takes pixels from 0 to 1 and needs PyTorch alone."""
    images, experiment = bench.images, bench.experiment
    told = {
        **origin,
        "budget": subject.budget.text,
        "data": images.train.name,
        "note": experiment.note,
        "seed": experiment.seed,
        "config": experiment.to_json(),
    }
    card = images.card(subject.spec(bench), told, fused=fused)
    save_network(network, folder, card, program=True)
