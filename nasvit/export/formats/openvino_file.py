"""OpenVINO's files, for Intel processors and GPUs."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from nasvit.export.formats.contract import Floats, Format, Run
from nasvit.export.formats.onnx_file import write_onnx


class OpenVino(Format):
    """Two files, made of the ONNX one, for any batch size; run in float32 wherever that is asked for."""

    name, runtime, file = "openvino", "openvino", "network.xml"
    packages, extra = ("openvino", "onnx", "onnxscript"), "openvino"

    def write(self, network: nn.Module, path: Path, shape: tuple[int, int, int]) -> None:
        openvino: Any = import_module("openvino")
        with TemporaryDirectory() as folder:
            plain = Path(folder) / "network.onnx"
            write_onnx(network, plain, shape)
            openvino.save_model(openvino.convert_model(str(plain)), str(path), compress_to_fp16=False)

    def load(self, path: Path, threads: int = 1) -> Run:
        openvino: Any = import_module("openvino")
        hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        compiled = openvino.Core().compile_model(str(path), "CPU", hints)

        def run(pixels: Floats) -> Floats:
            scores: Floats = compiled(pixels)[0].copy()  # its memory is written to again by the next call
            return scores

        return run

    def files(self, path: Path) -> list[Path]:
        return [path, path.with_suffix(".bin")]
