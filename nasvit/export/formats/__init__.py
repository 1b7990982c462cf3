"""Formats that networks are shipped in, each with its runtime."""

from __future__ import annotations

from nasvit.export.formats.contract import Floats, Format, Run, RunAll
from nasvit.export.formats.executorch_file import ExecuTorch
from nasvit.export.formats.litert_file import LiteRt
from nasvit.export.formats.onnx_file import Onnx
from nasvit.export.formats.openvino_file import OpenVino
from nasvit.export.formats.torch_program import TorchProgram

__all__ = ["FORMATS", "Floats", "Format", "Run", "RunAll", "format_of"]

FORMATS: dict[str, Format] = {each.name: each for each in (TorchProgram(), Onnx(), OpenVino(), ExecuTorch(), LiteRt())}
"""All formats by name."""


def format_of(name: str) -> Format:
    """Return a format.

    Raises:
        ValueError: if there is none of this name.
    """
    if name not in FORMATS:
        raise ValueError(f"format {name!r} is unknown; legal: {', '.join(FORMATS)}")
    return FORMATS[name]
