"""ExecuTorch's files, lowered to XNNPACK: phones and boards with Arm or x86 processors."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasvit.export.formats.contract import Floats, Format, Run


class ExecuTorch(Format):
    """One file for one image at a time, as such devices run it. The runtime chooses its threads.

    8-bit integers: static, by torchao's quantization of exported programs with XNNPACK's rules, weights by channel.
    """

    name, runtime, file = "executorch", "executorch", "network.pte"
    packages, quantizes_with, extra = ("executorch",), ("torchao",), "edge"

    def write(self, network: nn.Module, path: Path, shape: tuple[int, int, int]) -> None:
        _lower(network, path, shape)

    def write_int8(
        self, network: nn.Module, path: Path, shape: tuple[int, int, int], calibration: Sequence[Tensor]
    ) -> None:
        tools: Any = import_module("torchao.quantization.pt2e.quantize_pt2e")
        rules: Any = import_module("executorch.backends.xnnpack.quantizer.xnnpack_quantizer")
        quantizer = rules.XNNPACKQuantizer().set_global(rules.get_symmetric_quantization_config(is_per_channel=True))
        program = torch.export.export(network, (torch.rand(1, *shape),), strict=False).module()
        prepared = tools.prepare_pt2e(program, quantizer)
        with torch.no_grad():
            for image in torch.cat(list(calibration)).split(1):
                prepared(image)
        _lower(tools.convert_pt2e(prepared), path, shape)

    def load(self, path: Path, threads: int = 1) -> Run:
        runtime: Any = import_module("executorch.runtime").Runtime.get()
        method = runtime.load_program(str(path)).load_method("forward")

        def run(pixels: Floats) -> Floats:
            images = torch.from_numpy(np.ascontiguousarray(pixels)).split(1)
            return np.concatenate([method.execute([image])[0].numpy().copy() for image in images])

        return run


def _lower(network: nn.Module, path: Path, shape: tuple[int, int, int]) -> None:
    lower: Any = import_module("executorch.exir").to_edge_transform_and_lower
    partitioner: Any = import_module("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    program = torch.export.export(network, (torch.rand(1, *shape),), strict=False)
    lowered = lower(program, partitioner=[partitioner.XnnpackPartitioner()]).to_executorch()
    path.write_bytes(lowered.buffer)
