"""``torch.export`` programs, which need PyTorch alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from nasvit.export.formats.contract import Floats, Format, Start
from nasvit.export.program import PROGRAM, export_program
from nasvit.export.written import is_trusted
from nasvit.heads.decoded import Decoded


class TorchProgram(Format):
    """A program of PyTorch, for any batch size. Its threads are those of the process: ``torch.set_num_threads``.

    It is read by pickle, so that who opens one runs whatever its author put in.
    """

    name, runtime, file, title = "torch", "torch", PROGRAM, "PyTorch alone"
    code = """
        import torch

        network = torch.export.load("{file}").module()
        scores = network(torch.from_numpy(pixels)).detach().numpy()
        """
    code_of_boxes = """
        import torch

        network = torch.export.load("{file}").module()
        boxes, scores = (each.detach().numpy() for each in network(torch.from_numpy(pixels)))
        """

    code_of_objects = """
        import torch
        import torchvision  # whose non-maximum suppression it calls

        network = torch.export.load("{file}").module()
        found, best, classes = (each.detach().numpy() for each in network(torch.from_numpy(pixels)))
        """
    decodes = ("detection", "segmentation")

    def write(self, network: nn.Module, path: Path, shape: tuple[int, ...], batch: int | None = None) -> None:
        if batch is None or isinstance(network, Decoded):
            export_program(network, path, shape=shape, batch=batch)
        else:
            torch.export.save(torch.export.export(network, (torch.rand(batch, *shape),), strict=False), path)

    def may_start(self, path: Path) -> bool:
        return is_trusted(path)

    def start(self, path: Path, threads: int = 1) -> Start:
        module = torch.export.load(path).module()

        def run(pixels: Floats) -> list[Floats]:
            with torch.inference_mode():
                outputs = module(torch.from_numpy(np.ascontiguousarray(pixels)))
            return [output.numpy() for output in tree_leaves(outputs)]

        return run
