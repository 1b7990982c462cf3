"""ONNX files, run by ONNX Runtime: on servers, Windows, Android, and in the browser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from nasvit.export.formats.contract import SCORES, Floats, Format, Start, output_names
from nasvit.export.timing import sums_saturate
from nasvit.heads.decoded import Decoded

INPUT, OUTPUT = "pixels", SCORES
OPSET = 18
"""Version of the operators, which onnxruntime-web and other runtimes of the last years have."""

_NORMS = ("LayerNormalization", "InstanceNormalization")  # whose gains are few, and which the tool may fail at
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class Onnx(Format):
    """One file with its weights inside, for any batch size.

    8-bit integers: static, by ONNX Runtime's own tool, weights by channel (``QDQ``, unsigned activations). Where sums
    of two products saturate, weights have 7 bits, as ONNX Runtime's documentation asks for.
    """

    name, runtime, file, title = "onnx", "onnxruntime", "network.onnx", "ONNX Runtime"
    packages, writes_with, quantizes_with = ("onnxruntime",), ("onnx", "onnxscript"), ("onnxruntime",)
    extra = "export"
    code = f"""
        import onnxruntime

        session = onnxruntime.InferenceSession("{{file}}")
        scores = session.run(None, {{{{"{INPUT}": pixels}}}})[0]
        """
    code_of_boxes = f"""
        import onnxruntime

        session = onnxruntime.InferenceSession("{{file}}")
        boxes, scores = session.run(["boxes", "scores"], {{{{"{INPUT}": pixels}}}})
        """

    code_of_objects = f"""
        import onnxruntime

        session = onnxruntime.InferenceSession("{{file}}")
        found, best, classes = session.run(["boxes", "scores", "labels"], {{{{"{INPUT}": pixels}}}})
        """
    decodes = ("detection", "segmentation")

    def write(self, network: nn.Module, path: Path, shape: tuple[int, ...], batch: int | None = None) -> None:
        write_onnx(network, path, shape, batch)

    def write_int8(
        self,
        network: nn.Module,
        path: Path,
        shape: tuple[int, ...],
        calibration: Sequence[Tensor],
        batch: int | None = None,
    ) -> None:
        quantization: Any = import_module("onnxruntime.quantization")
        prepare: Any = import_module("onnxruntime.quantization.shape_inference").quant_pre_process
        registry: Any = import_module("onnxruntime.quantization.registry").QDQRegistry
        with TemporaryDirectory() as folder:
            plain, prepared = Path(folder) / "plain.onnx", Path(folder) / "prepared.onnx"
            write_onnx(network, plain, shape, batch)
            prepare(str(plain), str(prepared), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(prepared),
                str(path),
                _Batches(calibration if batch is None else torch.cat(list(calibration)).split(batch)),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=[name for name in registry if name not in _NORMS],
                nodes_to_exclude=_behind_the_weights(prepared),
                per_channel=True,
                reduce_range=sums_saturate(),
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )

    def tell(self, path: Path, told: Mapping[str, str]) -> None:
        onnx: Any = import_module("onnx")
        model = onnx.load(str(path))
        kept = {each.key: each.value for each in model.metadata_props}  # such as that its shapes were inferred
        onnx.helper.set_model_props(model, {**kept, **told})
        onnx.save(model, str(path))

    def start(self, path: Path, threads: int = 1) -> Start:
        onnxruntime: Any = import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda pixels: session.run(None, {INPUT: pixels})  # type: ignore[no-any-return]


def write_onnx(network: nn.Module, path: Path, shape: tuple[int, ...], batch: int | None = None) -> None:
    """Write a network as an ONNX file that passes the checker; arguments as in :meth:`Format.write`."""
    onnx: Any = import_module("onnx")
    images, whole = torch.rand(batch or 2, *shape), batch is None or isinstance(network, Decoded)
    program = torch.onnx.export(
        network,
        (images,),
        input_names=[INPUT],
        output_names=output_names(network, images) if whole else None,  # parts of networks may have several
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},) if batch is None else None,
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.save(str(path), external_data=False)
    model = onnx.load(str(path))
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]  # where in whose code it came from, which is longer than a small network
    onnx.save(model, str(path))
    onnx.checker.check_model(str(path), full_check=True)


def _behind_the_weights(path: Path) -> list[str]:
    """Return the operations of a detector that make boxes and scores of what its last layers say, none of other files.

    As integers they would round edges to a 255th of the image, and save nothing.
    """
    graph = import_module("onnx").load(str(path)).graph
    if len(graph.output) == 1:
        return []
    leads = {name for node in graph.node if node.op_type in _WEIGHTED for name in node.input}
    for node in reversed(graph.node):  # they are sorted
        if leads.intersection(node.output):
            leads.update(node.input)
    return [node.name for node in graph.node if node.op_type not in _WEIGHTED and not leads.intersection(node.output)]


class _Batches:
    """Calibration batches as ONNX Runtime's tool asks for them."""

    def __init__(self, batches: Sequence[Tensor]) -> None:
        self._batches = batches
        self.rewind()

    def get_next(self) -> dict[str, Floats] | None:
        """Return the next batch, or None after the last one."""
        return next(self._left, None)

    def rewind(self) -> None:
        """Begin again."""
        self._left: Iterator[dict[str, Floats]] = ({INPUT: each.numpy()} for each in self._batches)

    def __len__(self) -> int:
        return len(self._batches)
