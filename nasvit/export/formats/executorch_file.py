"""ExecuTorch's files, lowered to XNNPACK: phones and boards with Arm or x86 processors."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nasvit.export.formats.contract import Floats, Format, Run


class ExecuTorch(Format):
    """One file for one image at a time, as such devices run it."""

    name, runtime, file = "executorch", "executorch", "network.pte"
    packages, extra = ("executorch",), "edge"

    def write(self, network: nn.Module, path: Path, shape: tuple[int, int, int]) -> None:
        lower: Any = import_module("executorch.exir").to_edge_transform_and_lower
        partitioner: Any = import_module("executorch.backends.xnnpack.partition.xnnpack_partitioner")
        program = torch.export.export(network, (torch.rand(1, *shape),), strict=False)
        lowered = lower(program, partitioner=[partitioner.XnnpackPartitioner()]).to_executorch()
        path.write_bytes(lowered.buffer)

    def load(self, path: Path, threads: int = 1) -> Run:
        runtime: Any = import_module("executorch.runtime").Runtime.get()
        method = runtime.load_program(str(path)).load_method("forward")

        def run(pixels: Floats) -> Floats:
            images = torch.from_numpy(np.ascontiguousarray(pixels)).split(1)
            return np.concatenate([method.execute([image])[0].numpy().copy() for image in images])

        return run
