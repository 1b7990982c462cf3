"""Weights of any source are copied into any network, and everything that is done is reported."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from nasvit.importing.sources import SOURCES
from nasvit.importing.transfer import Report, Source, load_weights, read_source
from nasvit.models import resnet
from nasvit.registry import create
from nasvit.specs import PlannedSpec
from tests.nasvit.filled import filled

NUMBERS = tuple(map(str, range(10)))
PLAIN, VIT = "test_resnet", "test_vit"


def network(name: str = PLAIN, classes: int = 10, **settings: Any) -> nn.Module:
    made: nn.Module = timm.create_model(name, num_classes=classes, **settings)
    return made.eval()


def source(of: nn.Module, classes: tuple[str, ...] = ()) -> Source:
    return Source("a source", {name: tensor.clone() for name, tensor in filled(of).state_dict().items()}, classes)


def loaded(target: nn.Module, given: Source, classes: tuple[str, ...] = NUMBERS, **settings: Any) -> Report:
    return load_weights(target, given, classes, **settings)


def equal_but(target: nn.Module, given: Source, *apart: str) -> bool:
    """Whether a network has all tensors of a source but those whose names begin with some words, and not these."""
    state = target.state_dict()
    return all(torch.equal(state[name], given.tensors[name]) != name.startswith(apart) for name in state)


def test_equal_networks_have_the_same_outputs_afterwards() -> None:
    first, second = network(), network()
    given, images = source(first), torch.randn(2, 3, 64, 64)
    assert not torch.equal(first(images), second(images))
    report = loaded(second, given)
    assert torch.equal(first(images), second(images))
    assert not report.anew and not report.reshaped and not report.left_out
    assert str(report).startswith(f"starts from a source: {len(report.loaded)} tensors, ")


def test_weights_that_cannot_be_computed_with_are_refused_and_the_network_stays() -> None:
    target, given = network(), source(network())
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    given.tensors["fc.weight"][0, 0] = torch.inf
    with pytest.raises(ValueError, match=r"cannot be used\n  1 with NaN or infinite numbers: fc\.weight"):
        loaded(target, given)
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def test_a_classifier_of_another_number_of_classes_is_made_anew_and_nothing_else() -> None:
    target, given = network(classes=10), source(network(classes=37))
    report = loaded(target, given)
    assert set(report.anew) == {"fc.weight", "fc.bias"}
    assert "made anew (10 classes instead of 37): fc.weight, fc.bias" in str(report)
    assert {name: tensor.shape[0] for name, tensor in target.state_dict().items() if name in report.anew} == {
        "fc.weight": 10,
        "fc.bias": 10,
    }
    own = target.state_dict()
    assert all(torch.equal(own[name], given.tensors[name]) for name in report.loaded)
    assert report.is_loaded("conv1.0.weight") and not report.is_loaded("fc.weight")


def test_classes_that_both_sides_name_are_found_by_their_names() -> None:
    target, given = network(classes=2), source(network(classes=3), ("cat", "dog", "emu"))
    report = loaded(target, given, ("emu", "cat"))
    assert torch.equal(target.state_dict()["fc.weight"], given.tensors["fc.weight"][[2, 0]])
    assert torch.equal(target.state_dict()["fc.bias"], given.tensors["fc.bias"][[2, 0]])
    assert report.reshaped["fc.weight"] == "2 of 3 classes, by their names" and not report.anew


def test_as_many_classes_of_other_names_are_other_classes() -> None:
    given = source(network(classes=2), ("cat", "dog"))
    assert loaded(network(classes=2), given, ("cat", "cow")).anew["fc.weight"] == "other classes, such as cow"
    kept = loaded(network(classes=2), source(network(classes=2), ("0", "1")), ("cat", "cow"))
    assert not kept.anew
    assert "as many classes (2), whose names it does not say, are taken for the same ones" in str(kept)
    assert not loaded(network(classes=2), given, ("cat", "dog")).remark


@pytest.mark.parametrize("words", ["module.", "model.", "backbone.net."])
def test_prefixes_of_wrappers_are_looked_through(words: str) -> None:
    first, second = network(), network()
    given = source(first)
    wrapped = Source("a source", {words + name: tensor for name, tensor in given.tensors.items()})
    report = loaded(second, wrapped)
    assert equal_but(second, given)
    assert report.how == f"names without {words}"


def test_a_network_inside_another_one_takes_the_weights_of_the_inner_one() -> None:
    outer = nn.Sequential(OrderedDict(inner=network()))
    given = source(network())
    loaded(outer, given)
    assert equal_but(outer[0], given)


def renamed(given: Source) -> Source:
    """The same tensors in the same order, with other names."""
    names = [f"layer_{number}_of_many.{name.rpartition('.')[2]}" for number, name in enumerate(given.tensors)]
    return Source("another library", dict(zip(names, given.tensors.values(), strict=True)))


@pytest.mark.parametrize("counted", [True, False])
def test_other_names_in_the_same_order_are_matched_by_order_and_the_report_says_so(counted: bool) -> None:
    target, given = network(classes=10), source(network(classes=37))
    kept = {name: each for name, each in given.tensors.items() if counted or "num_batches_tracked" not in name}
    report = loaded(target, renamed(Source("a source", kept)))
    own = target.state_dict()
    assert all(torch.equal(own[name], kept[name]) for name in report.loaded)
    assert set(report.loaded) | set(report.anew) == {name for name in own if "num_batches_tracked" not in name}
    assert set(report.anew) == {"fc.weight", "fc.bias"}
    assert "matched by order" in str(report)


def test_one_other_shape_or_role_is_enough_not_to_match_by_order() -> None:
    given = renamed(source(network()))
    for spoil in (_one_reshaped, _swapped_statistics):
        target = network()
        before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
        with pytest.raises(ValueError, match="the weights do not fit this network \\(another library\\)"):
            loaded(target, Source(given.title, spoil(dict(given.tensors))))
        assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def _one_reshaped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    name = next(name for name, tensor in tensors.items() if tensor.dim() == 4 and tensor.shape[2] == 3)
    return tensors | {name: tensors[name][:, :, :1, :1]}


def _swapped_statistics(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Another order of what one norm has: of equal shapes, but with other meanings."""
    means = {name.rpartition(".")[0] for name in tensors if name.endswith("running_mean")}
    names = {name: name.replace("running_mean", "running_var") if "mean" in name else name for name in tensors}
    assert means
    return {
        name.replace("running_var", "running_mean") if name.endswith("running_var") else names[name]: tensor
        for name, tensor in tensors.items()
    }


@pytest.mark.parametrize(("theirs", "ours"), [(3, 1), (1, 3)])
def test_stems_of_gray_and_colored_images_answer_gray_images_alike(theirs: int, ours: int) -> None:
    first, second = network(in_chans=theirs), network(in_chans=ours)
    report = loaded(second, source(first))
    gray = torch.randn(2, 1, 64, 64)
    answers = [each(gray.expand(-1, channels, -1, -1)) for each, channels in ((first, theirs), (second, ours))]
    torch.testing.assert_close(*answers)
    assert report.reshaped == {"conv1.0.weight": f"a stem for images of {ours} channels instead of {theirs}"}


def test_a_table_of_absolute_positions_is_resized_and_the_class_token_left_alone() -> None:
    first, second = network(VIT, img_size=64), network(VIT, img_size=96)
    given = source(first)
    report = loaded(second, given)
    assert report.reshaped == {"pos_embed": "positions resized"}
    own = second.state_dict()["pos_embed"]
    assert torch.equal(own[:, 0], given.tensors["pos_embed"][:, 0])
    middle = own[0, 1:].reshape(6, 6, -1)[1:5, 1:5].mean((0, 1))
    torch.testing.assert_close(middle, given.tensors["pos_embed"][0, 1:].mean(0), rtol=0.5, atol=0.1)


def test_tables_of_relative_positions_are_resized_to_another_window() -> None:
    settings = {"embed_dim": 8, "depths": (1, 1), "num_heads": (2, 2)}
    first, second = (
        network("swin_tiny_patch4_window7_224", img_size=8 * side, window_size=side, **settings) for side in (4, 7)
    )
    given = source(first)
    name = "layers.0.blocks.0.attn.relative_position_bias_table"
    report = loaded(second, given)
    assert report.reshaped[name] == "positions resized"
    own = second.state_dict()[name].reshape(13, 13, 2)
    corners = given.tensors[name].reshape(7, 7, 2)
    torch.testing.assert_close(own[6, 6], corners[3, 3], rtol=0.3, atol=0.05)
    assert own.abs().max() < 1.5 * corners.abs().max()


def test_what_does_not_fit_is_named_with_shapes_and_the_way_out() -> None:
    given = dict(source(network()).tensors)
    given["conv1.0.weight"] = torch.zeros(5, 3, 3, 3)
    given["extra.weight"] = given.pop("bn1.weight")
    asked = r"the weights do not fit my network \(a file\); name the network that they belong to, or give partial"
    with pytest.raises(ValueError, match=asked) as refused:
        loaded(network(), Source("a file", given), title="my network")
    words = str(refused.value)
    assert "1 missing: bn1.weight" in words and "1 unexpected: extra.weight" in words
    assert "conv1.0.weight: 5x3x3x3 instead of" in words


def test_what_does_not_fit_is_left_alone_only_where_that_is_asked_for_and_named() -> None:
    target, given = network(), dict(source(network()).tensors)
    given["conv1.0.weight"] = torch.zeros(5, 3, 3, 3)
    given["extra.weight"] = given.pop("bn1.weight")
    before = target.state_dict()["conv1.0.weight"].clone()
    report = loaded(target, Source("a file", given), partial=True)
    assert report.anew == {"bn1.weight": "the source has none", "conv1.0.weight": "of another shape in the source"}
    assert report.left_out == {"without a place in this network": ("extra.weight",)}
    assert torch.equal(target.state_dict()["conv1.0.weight"], before)
    with pytest.raises(ValueError, match="nothing of a file fits this network"):
        loaded(network(), Source("a file", {"x": torch.ones(3)}), partial=True)


def test_indices_that_networks_make_themselves_are_left_out_and_named() -> None:
    given = dict(source(network()).tensors) | {"relative_position_index": torch.arange(4)}
    report = loaded(network(), Source("a file", given))
    assert report.left_out == {"tables of indices, which the network makes itself": ("relative_position_index",)}


def test_a_classifier_of_another_name_is_made_anew_and_the_other_one_left_out() -> None:
    given = {name.replace("fc.", "output.linear."): each for name, each in source(network()).tensors.items()}
    report = loaded(network(), Source("a file", given))
    assert set(report.anew) == {"fc.weight", "fc.bias"}
    assert report.left_out == {"its classifier": ("output.linear.weight", "output.linear.bias")}


def test_a_convolution_of_single_pixels_takes_the_weights_of_a_linear_layer() -> None:
    first, second = nn.Sequential(nn.Linear(4, 3)), nn.Sequential(nn.Conv2d(4, 3, 1))
    loaded(second, source(first), ("a", "b", "c"))
    x = torch.randn(2, 4)
    torch.testing.assert_close(first(x), second(x[:, :, None, None]).flatten(1))


def test_classifiers_are_found_in_networks_of_any_origin() -> None:
    for name, made in {
        "head.classifier": create("micro8:smallest", 37).network,
        "head": network(VIT, 37),
        "1": nn.Sequential(nn.Conv2d(3, 5, 1), nn.Linear(5, 37), nn.ReLU()),
    }.items():
        report = loaded(made, Source("itself", dict(made.state_dict()), tuple("ab")), tuple(map(str, range(37))))
        assert not report.anew
        small = {n: t[:3] if n.startswith(f"{name}.") else t for n, t in made.state_dict().items()}
        report = loaded(made, Source("smaller", small), tuple(map(str, range(37))))
        assert set(report.anew) == {f"{name}.weight", f"{name}.bias"}


def test_a_family_of_our_own_takes_weights_of_colored_images_and_other_classes() -> None:
    family = resnet(18).for_small_images()
    made = [PlannedSpec(family, family.plan(0.125), channels).build(classes) for channels, classes in ((3, 7), (1, 10))]
    report = loaded(made[1], source(made[0]))
    assert len(report.reshaped) == 1 and "stem" in next(iter(report.reshaped))
    assert set(report.anew) == {"head.classifier.weight", "head.classifier.bias"}


def facebooks_name(name: str) -> str:
    """The name of a tensor of timm's ConvNeXt in the checkpoints of its authors."""
    for ours, theirs in (
        (r"stem\.", "downsample_layers.0."),
        (r"stages\.(\d+)\.downsample\.", r"downsample_layers.\1."),
        (r"stages\.(\d+)\.blocks\.", r"stages.\1."),
        ("conv_dw", "dwconv"),
        (r"mlp\.fc", "pwconv"),
        (r"head\.norm\.", "norm."),
        (r"head\.fc\.", "head."),
    ):
        name = re.sub(ours, theirs, name)
    return name


def test_names_that_timm_knows_how_to_convert_are_converted_as_timm_does() -> None:
    settings = {"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8)}
    first, second = network("convnext_atto", 37, **settings), network("convnext_atto", **settings)
    given = source(first)
    theirs = {facebooks_name(name): tensor for name, tensor in sorted(given.tensors.items())}
    assert not theirs.keys() & {"stem.0.weight", "head.fc.weight"}
    report = loaded(second, Source("their file", theirs))
    assert report.how == "names converted as timm does" and set(report.anew) == {"head.fc.weight", "head.fc.bias"}
    assert equal_but(second, given, "head.fc")


PLAIN_RELEASES = [source for source, release in SOURCES.items() if release.spec is not None]


@pytest.mark.parametrize("name", PLAIN_RELEASES)
def test_every_plain_release_fits_its_own_network_on_other_classes(name: str) -> None:
    release = SOURCES[name]
    assert release.spec is not None
    with torch.device("meta"):  # shapes are all that is looked at here
        theirs, ours = release.build(37), release.spec.build(10)
    report = loaded(ours, Source(name, dict(theirs.state_dict())))
    assert set(report.anew) == {"head.classifier.weight", "head.classifier.bias"} and not report.reshaped


@pytest.mark.parametrize("wrapper", ["{}", "state_dict", "model", "module", "model_ema", "deep", "safetensors"])
def test_files_are_read_through_usual_wrappers(tmp_path: Path, wrapper: str) -> None:
    state = dict(source(network()).tensors)
    contents: dict[str, Any] = {
        "{}": state,
        "state_dict": {"state_dict": state, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}},
        "model": {"model": state, "args": {"lr": 0.1}},
        "module": {f"module.{name}": tensor for name, tensor in state.items()},
        "model_ema": {"model": {name: 0 * tensor for name, tensor in state.items()}, "model_ema": state},
        "deep": {"run": {"state_dict_ema": state}},
    }
    path = tmp_path / f"weights.{'safetensors' if wrapper == 'safetensors' else 'pth'}"
    if wrapper == "safetensors":
        save_file(state, path)
    else:
        torch.save(contents[wrapper], path)
    target = network()
    given = read_source(path, list(target.state_dict()))
    report = loaded(target, given)
    assert all(torch.equal(tensor, state[name]) for name, tensor in target.state_dict().items())
    assert str(path) in report.source and len(report.sha256) == 64
    assert report.to_json()["source"] == given.title


def test_a_report_is_short_however_many_tensors_there_are() -> None:
    given = dict(source(network()).tensors) | {f"more.{number}": torch.ones(2) for number in range(50)}
    report = loaded(network(), Source("a file", given), partial=True)
    assert "more.0, more.1, more.2, more.3 and 46 more" in str(report)
    assert len(str(report)) < 500 and len(report.to_json()["left_out"]["without a place in this network"]) == 50
