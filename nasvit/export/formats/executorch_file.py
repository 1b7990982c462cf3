"""ExecuTorch's files, lowered to XNNPACK: phones and boards with Arm or x86 processors."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor, nn

from nasvit.export.formats.contract import Floats, Format, Start, in_parts


class ExecuTorch(Format):
    """One file for one image at a time, as such devices run it, unless another batch size is asked for.

    8-bit integers: static, by torchao's quantization of exported programs with XNNPACK's rules, weights by channel.
    """

    name, runtime, file, title = "executorch", "executorch", "network.pte", "ExecuTorch"
    packages, quantizes_with, extra = ("executorch",), ("torchao",), "edge"
    code = """
        import torch
        from executorch.runtime import Runtime

        method = Runtime.get().load_program("{file}").load_method("forward")
        scores = method.execute([torch.from_numpy(pixels)])[0].numpy()
        """
    code_of_boxes = """
        import torch
        from executorch.runtime import Runtime

        method = Runtime.get().load_program("{file}").load_method("forward")
        boxes, scores = (each.numpy() for each in method.execute([torch.from_numpy(pixels)]))
        """

    def write(self, network: nn.Module, path: Path, shape: tuple[int, ...], batch: int | None = None) -> None:
        _lower(network, path, (batch or 1, *shape))

    def write_int8(
        self,
        network: nn.Module,
        path: Path,
        shape: tuple[int, ...],
        calibration: Sequence[Tensor],
        batch: int | None = None,
    ) -> None:
        tools: Any = import_module("torchao.quantization.pt2e.quantize_pt2e")
        rules: Any = import_module("executorch.backends.xnnpack.quantizer.xnnpack_quantizer")
        quantizer = rules.XNNPACKQuantizer().set_global(rules.get_symmetric_quantization_config(is_per_channel=True))
        whole = (batch or 1, *shape)
        program = torch.export.export(network, (torch.rand(whole),), strict=False).module()
        prepared = tools.prepare_pt2e(program, quantizer)
        with torch.no_grad():
            for images in torch.cat(list(calibration)).split(whole[0]):
                prepared(images)
        _lower(tools.convert_pt2e(prepared), path, whole)

    def start(self, path: Path, threads: int = 1) -> Start:
        return _Started(path, threads)


class _Started:
    """A file in the runtime, all of whose files share one pool of threads.

    Args:
        path: the file.
        threads: threads of the pool.

    Raises:
        ValueError: if another file is still in use with another number of threads, which would be left without any.
    """

    _in_use: ClassVar[WeakSet[_Started]] = WeakSet()

    def __init__(self, path: Path, threads: int) -> None:
        pool: Any = import_module("executorch.extension.pybindings.portable_lib")
        if pool._threadpool_get_thread_count() != threads:
            if self._in_use:
                raise ValueError(f"{path}: with {threads} threads, while other files are in use with another number")
            pool._unsafe_reset_threadpool(threads)
        self._in_use.add(self)
        self._program = import_module("executorch.runtime").Runtime.get().load_program(str(path))
        self._method = self._program.load_method("forward")
        self._batch = self._method.metadata.input_tensor_meta(0).sizes()[0]

    def __call__(self, pixels: Floats) -> Sequence[Any]:
        return in_parts(self._once, self._batch, pixels)

    def _once(self, pixels: Floats) -> list[Floats]:
        outputs = self._method.execute([torch.from_numpy(np.ascontiguousarray(pixels))])
        return [output.numpy() for output in outputs]


def _lower(network: nn.Module, path: Path, shape: tuple[int, ...]) -> None:
    lower: Any = import_module("executorch.exir").to_edge_transform_and_lower
    partitioner: Any = import_module("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    program = torch.export.export(network, (torch.rand(shape),), strict=False)
    lowered = lower(program, partitioner=[partitioner.XnnpackPartitioner()]).to_executorch()
    path.write_bytes(lowered.buffer)
