"""LiteRT's files, the former TensorFlow Lite: Android, boards, microcontrollers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasvit.export.formats.contract import SCORES, Floats, Format, Start, in_parts, output_names

_BIAS, _NONE = 2, -1
"""Place of the bias among the inputs of a linear layer, and what stands there if it has none."""

_ATTENTION = ("BATCH_MATMUL", "SOFTMAX")
"""Operations of attention, which stay floats: as integers they cost a trained network 14 points of accuracy."""


class LiteRt(Format):
    """One file for one image at a time, unless another batch size is asked for; images channel by channel.

    8-bit integers: static, by AI Edge Quantizer, LiteRT's own tool, weights by channel; in and out go floats.
    Products and softmax of attention stay floats.
    """

    name, runtime, file, title = "litert", "litert", "network.tflite", "LiteRT"
    packages, writes_with = ("ai_edge_litert",), ("litert_torch",)
    quantizes_with, extra = ("ai_edge_quantizer",), "litert"
    code = """
        from ai_edge_litert.interpreter import Interpreter

        network = Interpreter("{file}").get_signature_runner()
        (given,) = network.get_input_details()
        (scores,) = network(**{{given: pixels}}).values()
        """
    code_of_boxes = """
        from ai_edge_litert.interpreter import Interpreter

        network = Interpreter("{file}").get_signature_runner()
        (given,) = network.get_input_details()
        found = network(**{{given: pixels}})
        boxes, scores = found["boxes"], found["scores"]
        """

    def write(self, network: nn.Module, path: Path, shape: tuple[int, ...], batch: int | None = None) -> None:
        convert: Any = import_module("litert_torch").convert
        images = torch.rand(batch or 1, *shape)
        names = output_names(network.eval(), images)
        convert(_Named(network, names) if names != (SCORES,) else network, (images,)).export(str(path))

    def write_int8(
        self,
        network: nn.Module,
        path: Path,
        shape: tuple[int, ...],
        calibration: Sequence[Tensor],
        batch: int | None = None,
    ) -> None:
        tools: Any = import_module("ai_edge_quantizer.quantizer")
        recipe: Any = import_module("ai_edge_quantizer.recipe").static_wi8_ai8()
        with TemporaryDirectory() as folder:
            plain = Path(folder) / "plain.tflite"
            self.write(network, plain, shape, batch)
            _flatten_biases(plain)
            interpreter = _interpreter(plain, 1)
            ((signature, told),) = interpreter.get_signature_list().items()
            (name,) = told["inputs"]
            quantizer = tools.Quantizer(str(plain), recipe)
            for kept in ("INPUT", "OUTPUT", *_ATTENTION):
                quantizer.update_quantization_recipe(
                    regex=".*", operation_name=kept, algorithm_key=tools.AlgorithmName.NO_QUANTIZE
                )
            images = [{name: part.numpy()} for part in torch.cat(list(calibration)).split(batch or 1)]
            ranges = quantizer.calibrate({signature: images}, num_threads=1)
            quantizer.quantize(ranges).export_model(str(path))

    def start(self, path: Path, threads: int = 1) -> Start:
        interpreter = _interpreter(path, threads)
        (taken,), given = interpreter.get_input_details(), interpreter.get_output_details()
        batch = int(taken["shape"][0])

        def once(pixels: Floats) -> list[Floats]:
            interpreter.set_tensor(taken["index"], np.ascontiguousarray(pixels))
            interpreter.invoke()
            return [interpreter.get_tensor(each["index"]) for each in given]

        return partial(in_parts, once, batch)


class _Named(nn.Module):
    """A network that returns its outputs by name, which is how the file gets the names."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.network, self.names = network, tuple(names)
        self.eval()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        outputs = self.network(images)
        return dict(zip(self.names, (outputs,) if isinstance(outputs, Tensor) else outputs, strict=True))


def _flatten_biases(path: Path) -> None:
    """Give the biases of a file's linear layers one axis.

    The converter takes a vector that is added behind a linear layer for its bias, with all the axes it was added with;
    the quantizer says that its scales, one for each channel, lie along the first axis, and the runtime refuses that.
    """
    tools: Any = import_module("ai_edge_litert.tools.flatbuffer_utils")
    model = tools.read_model(str(path))
    for graph in model.subgraphs:
        for operator in graph.operators:
            if tools.opcode_to_name(model, operator.opcodeIndex) == "FULLY_CONNECTED":
                for bias in operator.inputs[_BIAS:]:
                    if bias != _NONE:
                        graph.tensors[bias].shape = np.array([np.prod(graph.tensors[bias].shape)], np.int32)
    path.write_bytes(tools.convert_object_to_bytearray(model))


def _interpreter(path: Path, threads: int) -> Any:
    interpreter: Any = import_module("ai_edge_litert.interpreter").Interpreter(
        model_path=str(path), num_threads=threads
    )
    interpreter.allocate_tensors()
    return interpreter
