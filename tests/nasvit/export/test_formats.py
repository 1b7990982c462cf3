"""The contract of formats: what is written is loaded in its runtime and computes what the network does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import nasvit
import search_spaces
from nasvit.branches import reparameterize
from nasvit.export.card import Card
from nasvit.export.formats import FORMATS, Format
from nasvit.export.shipping import folded
from nasvit.registry import create
from nasvit.specs import SubnetSpec, TimmSpec
from nasvit.supernets.supernet import build_subnet
from search_spaces import Space
from tests.nasvit.export.dense_networks import SMALL, SMALL_FCOS, SMALL_LRASPP, SMALL_PYRAMID, dense_network
from tests.nasvit.filled import filled

SHAPE = (3, 32, 32)
SLOW = ("executorch", "litert")  # lowering a network takes long
LARGE = ("openvino", "executorch", "litert")  # packages that not everybody who runs the tests has


def _short(name: str, stages: int, stride: int) -> Space:
    """The first stages of a space, as short as can be, the last with this stride, for images that are enlarged."""
    space = search_spaces.load(name)
    kept = [replace(stage, depth=stage.depth[:1]) for stage in space.stages[:stages]]
    return replace(space, resolution=(48,), stages=(*kept[:-1], replace(kept[-1], stride=stride)))


WINDOWS = _short("micro32", 3, 2)


def _subnet(space: Space) -> nn.Module:
    supernet = filled(nasvit.Supernet(space, 10))
    return supernet.extract(space.smallest, calibration=[torch.rand(8, space.image_channels, 32, 32)])


def _with_branches() -> nn.Module:
    torch.manual_seed(0)
    branched = reparameterize(SMALL.build(10), 2, seed=0)
    return nasvit.calibrate(branched, [torch.rand(64, *SHAPE)])  # else activations explode, and rounding with them


def _elastic() -> nn.Module:
    torch.manual_seed(0)
    elastic = nasvit.elasticize(create("timm:test_efficientnet", 10).network, torch.zeros(3, 160, 160))
    subnets = (elastic.space.sample(np.random.default_rng(seed)) for seed in range(100))
    return elastic.extract(next(subnet for subnet in subnets if subnet.resolution == 160))  # so nothing is resized


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "with windows and talking heads": (lambda: _subnet(WINDOWS), SHAPE),
    "of ghost blocks": (lambda: _subnet(_short("ghost_micro32", 3, 2)), SHAPE),
    "with branches": (_with_branches, SHAPE),
    "any network made elastic": (_elastic, (3, 160, 160)),
    "a detector with windows": (
        lambda: dense_network(SubnetSpec(WINDOWS, WINDOWS.smallest), replace(SMALL_FCOS, strides=(4, 8)), (64, 80), 3)[
            0
        ],
        (3, 64, 80),
    ),
    "a segmenter": (lambda: dense_network(SMALL, SMALL_LRASPP, (64, 96), 3)[0], (3, 64, 96)),
    "a segmenter with a pyramid": (lambda: dense_network(SMALL, SMALL_PYRAMID, (96, 64), 3)[0], (3, 96, 64)),
}


@cache
def network_of(name: str) -> nn.Module:
    make, shape = NETWORKS[name]
    card = Card(TimmSpec("resnet18"), tuple("0123456789"), shape[1], (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    return folded(make(), card)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Files of networks, in folders of their own, each written when first asked for: that takes seconds."""

    @cache
    def write(name: str, of: str) -> Path:
        path = tmp_path_factory.mktemp("written") / FORMATS[name].file
        FORMATS[name].write(network_of(of), path, NETWORKS[of][1])
        return path

    return write


def installed(format: Format) -> Format:
    try:
        format.require(writing=True, int8=True)
    except ImportError as error:
        pytest.skip(str(error))
    return format


CASES = [
    pytest.param(format, network, id=f"{format}-{network}", marks=[pytest.mark.slow] if format in SLOW else [])
    for format in FORMATS
    for network in NETWORKS
    if format in SLOW or network != "with windows and talking heads"  # the detector has them
]


@pytest.mark.parametrize(("name", "of"), CASES)
def test_a_file_computes_what_the_network_does(name: str, of: str, written: Callable[[str, str], Path]) -> None:
    format, network, (_, shape) = installed(FORMATS[name]), network_of(of), NETWORKS[of]
    path = written(name, of)
    assert sorted(format.files(path)) == sorted(path.parent.iterdir())
    pixels = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))
    assert str(Path(__file__).parents[3]).encode() not in path.read_bytes()  # nothing of this machine in it
    with torch.inference_mode():
        wanted = [each.numpy() for each in tree_leaves(network(pixels))]
    run = format.load_all(path)
    for batch in (pixels, pixels[:1]):
        for found, each in zip(run(batch.numpy()), wanted, strict=True):
            np.testing.assert_allclose(found, each[: len(batch)], atol=2e-5 * abs(each).max())
    assert format.versions().keys() == {*format.packages, *format.writes_with}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in ("onnx", "litert")]
)
def test_boxes_and_scores_have_their_names_where_a_format_has_names(
    name: str, written: Callable[[str, str], Path]
) -> None:
    installed(FORMATS[name])
    path = written(name, "a detector with windows")
    if name == "onnx":
        session = import_module("onnxruntime").InferenceSession(str(path))
        names = [each.name for each in session.get_outputs()]
    else:
        told = import_module("ai_edge_litert.interpreter").Interpreter(str(path)).get_signature_list()
        names = told["serving_default"]["outputs"]
    assert names == ["boxes", "scores"]


class _Axes(TorchDispatchMode):
    """Notes the most axes of what operations return."""

    most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.most = max(self.most, *(each.ndim for each in tree_leaves(out) if isinstance(each, torch.Tensor)), 0)
        return out


@pytest.mark.parametrize("space", ["micro32", "micro128", "nasvit"])
def test_no_tensor_of_a_network_with_windows_has_more_axes_than_devices_take(space: str) -> None:
    found = search_spaces.load(space)
    assert max(windows or 0 for windows in found.smallest.windows) > 1
    side = found.smallest.resolution
    with torch.device("meta"), torch.no_grad():
        network = build_subnet(found, found.smallest, 10).eval()
        with _Axes() as axes:
            network(torch.empty(1, 3, side, side))
    assert axes.most == 6


INT8_CASES = [
    pytest.param(name, of, id=f"{name}-{of}", marks=[pytest.mark.slow] if name in SLOW else [])
    for name in ("onnx", *LARGE)
    for of in ("with branches", *(("with windows and talking heads",) if name == "litert" else ()))
]


@pytest.mark.parametrize(("name", "of"), INT8_CASES)
def test_integers_are_smaller_than_floats_and_say_nearly_the_same(
    name: str, of: str, written: Callable[[str, str], Path], tmp_path: Path
) -> None:
    format, network = installed(FORMATS[name]), network_of(of)
    calibration = [torch.rand(16, *SHAPE, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    plain, small = written(name, of), tmp_path / format.file
    format.write_int8(network, small, SHAPE, calibration)
    sizes = [sum(file.stat().st_size for file in format.files(path)) for path in (plain, small)]
    assert sizes[1] < 0.8 * sizes[0]
    with torch.inference_mode():
        wanted = network(calibration[0]).numpy()
    found = format.load(small)(calibration[0].numpy())
    assert 0.9 < np.corrcoef(found.ravel(), wanted.ravel())[0, 1] < 1


@pytest.mark.parametrize(("saturate", "largest"), [(True, 64), (False, 127)])
def test_weights_have_7_bits_where_sums_saturate(
    saturate: bool, largest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    format = installed(FORMATS["onnx"])
    monkeypatch.setattr("nasvit.export.formats.onnx_file.sums_saturate", lambda: saturate)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    format.write_int8(network, tmp_path / format.file, SHAPE, [torch.rand(4, *SHAPE)])
    held = import_module("onnx").load(str(tmp_path / format.file)).graph.initializer
    values = [import_module("onnx.numpy_helper").to_array(each) for each in held if each.data_type == 3]
    assert max(int(abs(each.astype(int)).max()) for each in values if each.ndim == 4) == largest


def test_an_onnx_file_that_is_told_what_it_is_computes_the_same(
    written: Callable[[str, str], Path], tmp_path: Path
) -> None:
    format, onnx = installed(FORMATS["onnx"]), import_module("onnx")
    path = tmp_path / format.file
    model = onnx.load(str(written("onnx", "a segmenter")))
    onnx.helper.set_model_props(model, {"onnx.infer": "a tool's", "task": "unknown"})
    onnx.save(model, str(path))
    format.tell(path, {"task": "segmentation", "classes": '["a", "ü"]'})
    told = import_module("onnxruntime").InferenceSession(str(path)).get_modelmeta().custom_metadata_map
    assert told == {"onnx.infer": "a tool's", "task": "segmentation", "classes": '["a", "ü"]'}
    assert onnx.load(str(path)).graph.SerializeToString() == model.graph.SerializeToString()


def test_formats_without_integers_and_packages_that_are_missing_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="format torch has no 8-bit integers here; legal with --int8: onnx, openvino"):
        FORMATS["torch"].write_int8(nn.Identity(), tmp_path / "x.pt2", SHAPE, [])
    monkeypatch.setattr(FORMATS["onnx"], "packages", ("no_such_package",))
    with pytest.raises(ImportError, match=r"format onnx needs no_such_package, .*nasvit\[export\]"):
        FORMATS["onnx"].require()
