"""Importing released supernets: names, shapes, messages."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from nasvit.importing import (
    SOURCES,
    CheckpointError,
    LayoutError,
    import_checkpoint,
    import_tensors,
    load_imported,
    released_layout,
)
from nasvit.importing.attentive import resize_position_table
from nasvit.supernets.supernet import Supernet
from tests.shared import SHARED, needs_shared

TABLE = "blocks.14.attn.relative_position_bias_table"


def cheap_weights(source: str) -> dict[str, Tensor]:
    """Tensors of the right shapes that take no room in a file."""
    return {name: torch.zeros(()).expand(shape) for name, shape in released_layout(source).items()}


@needs_shared
@pytest.mark.parametrize(("source", "folder"), [("nasvit", "nasvit"), ("alphanet", "alphanet")])
def test_every_released_tensor_is_either_imported_or_known_as_unused(source: str, folder: str) -> None:
    from tests.parity.released import read_layout

    released = read_layout(SHARED / "golden" / folder)
    ours = released_layout(source)
    assert ours == {name: shape for name, shape in released.items() if name in ours}
    assert all(SOURCES[source].is_unused(name) for name in released.keys() - ours.keys())


def test_an_imported_checkpoint_comes_back_as_a_supernet(tmp_path: Path) -> None:
    weights = cheap_weights("nasvit") | {"first_conv.conv.conv.weight": torch.randn(24, 3, 3, 3)}
    released = {f"module.{name}": tensor for name, tensor in weights.items()}
    torch.save({"epoch": 3, "model_ema": released}, tmp_path / "release.pth")
    report = import_checkpoint("nasvit", tmp_path / "release.pth", tmp_path / "deep" / "ours.safetensors")
    assert (report.part, report.classes) == ("model_ema", 1000)
    assert "model_ema" in str(report)
    network = load_imported(report.out)
    assert isinstance(network, Supernet)
    assert torch.equal(network.stem.conv.weight.detach(), weights["first_conv.conv.conv.weight"])
    assert torch.equal(network.at(network.space.smallest).stem.conv.weight, network.stem.conv.weight[:16])


def test_an_imported_supernet_trains(tmp_path: Path) -> None:
    network = import_tensors("alphanet", cheap_weights("alphanet"))
    assert isinstance(network, Supernet)
    subnet = network.at(network.space.smallest).train()
    subnet(torch.randn(2, 3, 64, 64)).sum().backward()
    assert float(network.gradients.norm()) > 0


def test_one_tensor_of_the_wrong_shape_is_named_with_both_shapes() -> None:
    weights = cheap_weights("nasvit") | {"blocks.3.shortcut.conv.conv.weight": torch.zeros(32, 31, 1, 1)}
    with pytest.raises(LayoutError) as error:
        import_tensors("nasvit", weights)
    assert error.value.misshapen == [("blocks.3.shortcut.conv.conv.weight", (32, 31, 1, 1), (32, 32, 1, 1))]
    listed = "1 of the wrong shape: blocks.3.shortcut.conv.conv.weight: 32x31x1x1 instead of 32x32x1x1"
    assert listed in str(error.value)


def test_missing_and_unexpected_tensors_are_named() -> None:
    weights = cheap_weights("alphanet")
    del weights["classifier.linear.linear.bias"]
    weights["blocks.99.weight"] = torch.zeros(3)
    with pytest.raises(LayoutError) as error:
        import_tensors("alphanet", weights)
    assert error.value.missing == ["classifier.linear.linear.bias"]
    assert error.value.unexpected == ["blocks.99.weight"]


def test_weights_of_another_release_are_recognized() -> None:
    with pytest.raises(LayoutError, match=r"do not fit the NASViT supernet.*another release and fit 'alphanet'"):
        import_tensors("nasvit", cheap_weights("alphanet"))


def test_an_unknown_source_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"source 'nasvitt' is unknown; legal: nasvit, alphanet"):
        import_checkpoint("nasvitt", tmp_path / "a.pth", tmp_path / "b.safetensors")


def test_another_number_of_classes_is_taken_from_the_classifier() -> None:
    weights = cheap_weights("alphanet")
    weights["classifier.linear.linear.weight"] = torch.zeros(10, 1984)
    weights["classifier.linear.linear.bias"] = torch.zeros(10)
    network = import_tensors("alphanet", weights)
    assert isinstance(network, Supernet) and network.classes == 10


def test_position_tables_of_another_window_are_resized_bicubically_as_in_the_release() -> None:
    table = torch.randn(13 * 13, 9)
    network = import_tensors("nasvit", cheap_weights("nasvit") | {TABLE: table})
    grid = table.permute(1, 0).view(1, 9, 13, 13)
    wanted = F.interpolate(grid, size=(35, 35), mode="bicubic").view(9, 35 * 35).permute(1, 0)
    ours = network.get_parameter("stages.3.1.attention.position_bias.table")
    assert torch.equal(ours.detach().reshape(35 * 35, 9), wanted)


@pytest.mark.parametrize("shape", [(12 * 12, 9), (170, 9), (169, 8), (169,)])
def test_position_tables_that_no_window_has_are_refused(shape: tuple[int, ...]) -> None:
    assert resize_position_table(torch.zeros(shape), (1225, 9)) is None
    with pytest.raises(LayoutError, match="relative_position_bias_table"):
        import_tensors("nasvit", cheap_weights("nasvit") | {TABLE: torch.zeros(shape)})


def test_a_safetensors_file_is_read_too_and_a_broken_one_is_named(tmp_path: Path) -> None:
    weights = {name: tensor.clone() for name, tensor in cheap_weights("timm_fbnetv3_b").items()}
    save_file(weights, tmp_path / "b.safetensors")
    report = import_checkpoint("timm_fbnetv3_b", tmp_path / "b.safetensors", tmp_path / "ours.safetensors")
    assert report.tensors == len(weights)
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "b.safetensors").read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        import_checkpoint("timm_fbnetv3_b", tmp_path / "b.safetensors", tmp_path / "ours.safetensors")


def test_weights_that_cannot_be_computed_with_are_refused(tmp_path: Path) -> None:
    weights = {name: tensor.clone() for name, tensor in cheap_weights("timm_fbnetv3_b").items()}
    first, norm = next(iter(weights)), next(name for name in weights if name.endswith("running_var"))
    for name, tensor, words in (
        (first, weights[first].int(), f"1 of int32, not of floating-point numbers: {first}"),
        (first, weights[first] + torch.nan, f"1 with NaN or infinite numbers: {first}"),
        (norm, weights[norm] - 1, f"1 of variances below 0: {norm}"),
    ):
        torch.save(weights | {name: tensor}, tmp_path / "wrong.pth")
        with pytest.raises(CheckpointError, match=f"names and shapes, but cannot be used\\n  {words}"):
            import_checkpoint("timm_fbnetv3_b", tmp_path / "wrong.pth", tmp_path / "ours.safetensors")
    assert not list(tmp_path.glob("ours*"))


def test_a_checkpoint_is_not_overwritten(tmp_path: Path) -> None:
    torch.save(cheap_weights("ghostnetv3_050"), tmp_path / "release.pth")
    before = (tmp_path / "release.pth").read_bytes()
    (tmp_path / "same.pth").symlink_to(tmp_path / "release.pth")
    for out in ("release.pth", "same.pth"):
        with pytest.raises(CheckpointError, match="is the checkpoint itself, which would be overwritten"):
            import_checkpoint("ghostnetv3_050", tmp_path / "release.pth", tmp_path / out)
    assert (tmp_path / "release.pth").read_bytes() == before


def test_metadata_that_nobody_here_wrote_are_refused(tmp_path: Path) -> None:
    told = (
        '{"source": "os:system", "classes": 3}',
        '{"source": "ghostnetv3_050", "classes": -1}',
        '{"source": "ghostnetv3_050", "classes": 1000000000000}',
        "[" * 100_000,
    )
    for each in told:
        save_file({"w": torch.zeros(1)}, tmp_path / "other.safetensors", {"nasvit": each})
        with pytest.raises(ValueError, match="its metadata are not those|these are not the weights of"):
            load_imported(tmp_path / "other.safetensors")


def test_a_file_that_was_not_imported_is_refused(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="was not written by nasvit import"):
        load_imported(tmp_path / "other.safetensors")
