"""OpenVINO's files, for Intel processors and GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from nasvit.export.formats.contract import Format, Start
from nasvit.export.formats.onnx_file import write_onnx


class OpenVino(Format):
    """Two files, made of the ONNX one, for any batch size.

    8-bit integers: static, by NNCF, OpenVINO's own tool, weights by channel.
    """

    name, runtime, file, title = "openvino", "openvino", "network.xml", "OpenVINO"
    packages, writes_with, quantizes_with = ("openvino",), ("onnx", "onnxscript"), ("nncf",)
    extra = "openvino"
    code = """
        import openvino

        network = openvino.Core().compile_model("{file}", "CPU")
        scores = network(pixels)[0]
        """
    code_of_boxes = """
        import openvino

        network = openvino.Core().compile_model("{file}", "CPU")
        found = network(pixels)
        boxes, scores = found["boxes"], found["scores"]
        """

    def write(self, network: nn.Module, path: Path, shape: tuple[int, ...], batch: int | None = None) -> None:
        openvino: Any = import_module("openvino")
        openvino.save_model(_converted(network, shape, batch), str(path), compress_to_fp16=False)

    def write_int8(
        self,
        network: nn.Module,
        path: Path,
        shape: tuple[int, ...],
        calibration: Sequence[Tensor],
        batch: int | None = None,
    ) -> None:
        openvino: Any = import_module("openvino")
        nncf: Any = import_module("nncf")
        images = [image.numpy() for image in torch.cat(list(calibration)).split(batch or 1)]
        quantized = nncf.quantize(
            _converted(network, shape, batch),
            nncf.Dataset(images),
            model_type=nncf.ModelType.TRANSFORMER,  # with other rules networks with attention disagree far more
            subset_size=len(images),
        )
        openvino.save_model(quantized, str(path), compress_to_fp16=False)

    def start(self, path: Path, threads: int = 1) -> Start:
        openvino: Any = import_module("openvino")
        hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        compiled = openvino.Core().compile_model(str(path), "CPU", hints)
        return lambda pixels: compiled(pixels).to_tuple()  # type: ignore[no-any-return]

    def files(self, path: Path) -> list[Path]:
        return [path, path.with_suffix(".bin")]


def _converted(network: nn.Module, shape: tuple[int, ...], batch: int | None) -> Any:
    openvino: Any = import_module("openvino")
    with TemporaryDirectory() as folder:
        plain = Path(folder) / "network.onnx"
        write_onnx(network, plain, shape, batch)
        return openvino.convert_model(str(plain))
