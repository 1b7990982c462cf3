"""``torch.export`` programs, which need PyTorch alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from nasvit.export.formats.contract import Floats, Format, Run
from nasvit.export.program import PROGRAM, export_program


class TorchProgram(Format):
    """A program of PyTorch, for any batch size. Its threads are those of the process: ``torch.set_num_threads``."""

    name, runtime, file = "torch", "torch", PROGRAM

    def write(self, network: nn.Module, path: Path, shape: tuple[int, int, int]) -> None:
        export_program(network, path, shape=shape)

    def load(self, path: Path, threads: int = 1) -> Run:
        module = torch.export.load(path).module()

        def run(pixels: Floats) -> Floats:
            with torch.inference_mode():
                scores: Floats = module(torch.from_numpy(np.ascontiguousarray(pixels))).numpy()
            return scores

        return run
