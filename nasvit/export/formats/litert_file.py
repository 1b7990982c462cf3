"""LiteRT's files, the former TensorFlow Lite: Android, boards, microcontrollers."""

from __future__ import annotations

import shutil
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
    Products and softmax of attention stay floats. Ranges of activations are averages or extremes, whichever says more
    nearly what the floats say of the calibration images: averages cut heavy tails, without which extremes are better.
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
        size, images = batch or 1, torch.cat(list(calibration)).numpy()
        images = images[: len(images) // size * size]  # the file takes whole batches
        with TemporaryDirectory() as folder:
            plain = Path(folder) / "plain.tflite"
            self.write(network, plain, shape, batch)
            _flatten_biases(plain)
            wanted = self.start(plain)(images)
            files = [Path(folder) / name for name in ("averages.tflite", "extremes.tflite")]
            for file, ranges in zip(files, _ranges(plain, np.split(images, len(images) // size)), strict=True):
                _quantize(plain, ranges, file)
            shutil.copyfile(min(files, key=lambda file: _distance(self.start(file)(images), wanted)), path)

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


def _ranges(plain: Path, batches: Sequence[Floats]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the ranges of all activations: moving averages of the batches' extremes, and the extremes of all."""
    known: Any = import_module("ai_edge_quantizer.utils.qsv_utils")
    manager: Any = import_module("ai_edge_quantizer.recipe_manager").RecipeManager()
    manager.load_quantization_recipe(import_module("ai_edge_quantizer.recipe").static_wi8_ai8())

    def update(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
        widest = known.min_max_update(before.get("widest", before), now)
        return {**known.moving_average_update(before, now), "widest": widest}

    calibrator: Any = import_module("ai_edge_quantizer.calibrator").Calibrator(
        str(plain), num_threads=1, qsv_update_func=update
    )
    ((signature, told),) = _interpreter(plain, 1).get_signature_list().items()
    (name,) = told["inputs"]
    calibrator.calibrate({signature: [{name: batch} for batch in batches]}, manager)
    averages, extremes = {}, {}
    for tensor, found in calibrator.get_model_qsvs().items():
        extremes[tensor] = found.get("widest", found)
        averages[tensor] = {name: value for name, value in found.items() if name != "widest"}
    return averages, extremes


def _quantize(plain: Path, ranges: dict[str, Any], path: Path) -> None:
    tools: Any = import_module("ai_edge_quantizer.quantizer")
    quantizer = tools.Quantizer(str(plain), import_module("ai_edge_quantizer.recipe").static_wi8_ai8())
    for kept in ("INPUT", "OUTPUT", *_ATTENTION):
        quantizer.update_quantization_recipe(
            regex=".*", operation_name=kept, algorithm_key=tools.AlgorithmName.NO_QUANTIZE
        )
    quantizer.quantize(ranges).export_model(str(path))


def _distance(outputs: Sequence[Floats], wanted: Sequence[Floats]) -> float:
    """Return how far outputs are from what is wanted, as a share of its size, for the median image.

    The mean would be that of the few images whose heavy tails averages cut.
    """
    return sum(float(np.median(_squares(ours - theirs) / _squares(theirs))) for ours, theirs in zip(outputs, wanted))


def _squares(values: Floats) -> Floats:
    return np.square(values).reshape(len(values), -1).sum(1) + 1e-12


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
