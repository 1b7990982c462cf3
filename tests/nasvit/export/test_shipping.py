"""Shipping: what is written agrees with the network or is not there, and the commands that use it."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import nasvit
from nasvit import cli
from nasvit.data.config import DataConfig
from nasvit.data.pictures import Pictures, open_picture
from nasvit.experiment.fit import fit
from nasvit.experiment.images import Images
from nasvit.experiment.training import FitConfig
from nasvit.export.card import Card
from nasvit.export.formats import FORMATS, Floats, Format
from nasvit.export.formats.contract import Start
from nasvit.export.saved import load_saved, save_network
from nasvit.export.shipping import Shipping, as_saved, folded, input_of, load_file, with_shipped
from nasvit.export.timing import time_in_turns
from nasvit.files.records import versions
from nasvit.files.whole import unfinished
from nasvit.registry import create, spec_of
from nasvit.report.named import every_name
from search_spaces import Recipe

CLASSES = tuple("0123456789")


class Lookalike(Format):
    """Writes whole tensors: the network, or with ``noise`` another one."""

    name, runtime, file, quantizes_with = "lookalike", "torch", "network.pt", ("torch",)
    title, code = "Lookalike", ""

    def __init__(self, noise: float = 0.0, fails: Exception | None = None) -> None:
        self.noise, self.fails = noise, fails

    def write(self, network: nn.Module, path: Path, shape: tuple[int, ...], batch: int | None = None) -> None:
        if self.fails is not None:
            raise self.fails
        torch.save(network, path)

    def write_int8(
        self,
        network: nn.Module,
        path: Path,
        shape: tuple[int, ...],
        calibration: Sequence[Tensor],
        batch: int | None = None,
    ) -> None:
        assert sum(map(len, calibration)) == 100
        self.write(network, path, shape)

    def tell(self, path: Path, told: Mapping[str, str]) -> None:
        self.told = dict(told)

    def start(self, path: Path, threads: int = 1) -> Start:
        network = torch.load(path, weights_only=False)

        def run(pixels: Floats) -> list[Floats]:
            with torch.no_grad():
                return [(network(torch.from_numpy(pixels)) * (1 + self.noise)).numpy()]

        return run


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A saved network for digits, whose card says what it was trained on."""
    network, card = create("micro8:smallest", 10, seed=1)
    origin = {"config": {"data": {"source": "digits"}}}
    card = Card(card.spec, CLASSES, 8, (0.3,), (0.4,), origin=origin)
    batches = [(each - 0.3) / 0.4 for each in Pictures("digits", (1, 8, 8), CLASSES).calibration(256)]
    save_network(nasvit.calibrate(network, batches), tmp_path / "net", card)
    return tmp_path / "net"


def shipping_of(folder: Path, **options: Any) -> Shipping:
    network, card = load_saved(folder)
    return Shipping(network, card, folder, Pictures("digits", card.shape, CLASSES), calibrated=100, **options)


def test_a_file_that_agrees_is_told_in_the_card(saved: Path) -> None:
    lookalike = Lookalike()
    shipped = shipping_of(saved).ship(lookalike)
    assert (shipped.file, shipped.bytes) == ("network.pt", (saved / "network.pt").stat().st_size)
    parity = shipped.parity
    assert (parity.images, parity.agreement) == (359, 1)
    assert 0 < parity.deviation < 1e-5  # batch norms are folded
    assert parity.accuracy == parity.accuracy_of_network != 0
    card = with_shipped(Card.read(saved), [shipped])
    card.write(saved)
    again = Card.read(saved)
    assert again == card
    assert again.exports["network.pt"]["parity"]["agreement"] == 1
    taken = "pixels from 0 to 1, gray; normalization is inside"
    assert again.exports["network.pt"]["input"] == lookalike.told["input"] == taken
    assert json.loads(lookalike.told["classes"]) == [*CLASSES]
    assert [lookalike.told[name] for name in ("task", "image_size", "nasvit")] == [
        *("classification", "[8, 8]", versions()["nasvit"])
    ]
    assert input_of(replace(card, mean=(), deviation=())) == "pixels from 0 to 1, gray; not normalized"
    assert load_saved(saved).card.exports == again.exports


def test_a_file_that_disagrees_is_not_left_behind_and_an_earlier_one_stays(saved: Path) -> None:
    (saved / "network.pt").write_text("earlier")
    before = sorted(saved.iterdir())
    (saved / f".killed.{unfinished().replace(str(os.getpid()), str(2**22 + 1), 1)}").mkdir()
    with pytest.raises(ValueError, match=r"network.pt disagrees with the network: its scores deviate by 0.01"):
        shipping_of(saved).ship(Lookalike(0.01))
    assert (saved / "network.pt").read_text() == "earlier"
    assert sorted(saved.iterdir()) == before


def test_integers_may_lose_so_much_and_no_more(saved: Path) -> None:
    wrong = Lookalike(-2.0)  # all scores the other way round
    with pytest.raises(
        ValueError, match=r"loses -?\d+.\d points of accuracy, and the classes of \d+.\d% of 359 images"
    ):
        shipping_of(saved, most_drop=0.05).ship(wrong, int8=True)
    assert shipping_of(saved, most_drop=1.0).ship(wrong, int8=True).parity.agreement < 0.9
    assert shipping_of(saved).ship(Lookalike(0.5), int8=True).int8  # the same classes
    for options, message in (({"most_drop": -1.0}, "--most-drop -1.0"), ({"most_drop": 2.0}, "--most-drop 2.0")):
        with pytest.raises(ValueError, match=message):
            shipping_of(saved, **options)


def test_scores_that_are_no_numbers_and_errors_of_exporters_are_said_and_leave_nothing(saved: Path) -> None:
    before = sorted(saved.iterdir())
    with pytest.raises(ValueError, match="network-int8.pt: scores of the file are no finite numbers"):
        shipping_of(saved).ship(Lookalike(float("nan")), int8=True)
    with pytest.raises(ValueError, match="network.pt: lookalike failed: RuntimeError: no such operator"):
        shipping_of(saved).ship(Lookalike(fails=RuntimeError("no such operator")))
    assert sorted(saved.iterdir()) == before


def test_without_images_floats_are_compared_on_noise_and_integers_refused(saved: Path) -> None:
    network, card = load_saved(saved)
    shipping = Shipping(network, card, saved)
    shipped = shipping.ship(Lookalike())
    assert (shipped.compared_on, shipped.parity.accuracy) == ("noise", None)
    with pytest.raises(ValueError, match="give --images SOURCE"):
        shipping.ship(Lookalike(), int8=True)


def test_files_of_an_earlier_network_do_not_outlive_it(saved: Path) -> None:
    with_shipped(Card.read(saved), [shipping_of(saved).ship(Lookalike())]).write(saved)
    network, card = load_saved(saved)
    save_network(network, saved, replace(card, exports={}))
    assert not (saved / "network.pt").exists()
    (saved / "network.pt").write_text("another one's")
    with pytest.raises(ValueError, match=r"tells of no such file \(it tells of none\)"):
        load_file(saved / "network.pt")


def test_the_reference_is_the_network_as_it_was_saved(saved: Path) -> None:
    network, card = load_saved(saved)
    network.half()
    pixels = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        wanted = network.float()((pixels - 0.3) / 0.4)
        network.half()
        torch.testing.assert_close(as_saved(network, card)(pixels), wanted, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(folded(network, card)(pixels), wanted, atol=1e-5, rtol=1e-4)
    assert next(network.parameters()).dtype == torch.float16


def test_numbers_for_names_of_classes_take_any_classes_of_that_number() -> None:
    assert len(Pictures("digits", (1, 8, 8), [f"{n}" for n in range(10)]).test(5).images) == 5


def test_images_of_other_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"digits has the classes 0, 1, 2, ... \(10\), the network scores a, b"):
        Pictures("digits", (1, 8, 8), "ab").test()


def test_a_picture_is_what_evaluation_sees(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name, size in (("a", (50, 70)), ("b", (64, 40)), ("c", (33, 35))):
            path = tmp_path / split / name / "one.png"
            path.parent.mkdir(parents=True)
            for file in (path, path.with_name("two.png"))[: 2 if split == "train" else 1]:
                Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(file)
    config = DataConfig(str(tmp_path), image_size=24, crop="resized", crop_pct=0.875, validation=0.5)
    images = Images(config, seed=0, most=0)
    (normalized, labels), *_ = images.test_loader(24).evaluation_batches()
    mean, deviation = (
        torch.tensor(each)[:, None, None] for each in (images.normalization.mean, images.normalization.std)
    )
    pictures = Pictures(str(tmp_path), (3, 24, 24), "abc", 0.875)
    (pixels, targets), *rest = pictures.test().evaluation_batches()
    assert len(pixels) == 3 and not rest
    assert torch.equal(targets, labels)
    torch.testing.assert_close((pixels - mean) / deviation, normalized, atol=1e-4, rtol=0)
    for number, name in enumerate("abc"):
        opened = open_picture(tmp_path / "val" / name / "one.png", (3, 24, 24), 0.875)
        torch.testing.assert_close(opened[0], pixels[number], atol=1e-6, rtol=0)


def test_hidden_files_are_no_pictures_and_broken_ones_are_left_out(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("L", (8, 8)).save(folder / "one.png")
    for name in (".hidden.png", "notes.pdf", "broken.jpg"):
        (folder / name).write_bytes(b"nothing")
    command(monkeypatch, "predict", saved, folder, "--out", tmp_path / "out" / "classes.json")
    shown = capsys.readouterr()
    assert "broken.jpg is left out" in shown.err
    assert {row["file"] for row in json.loads((tmp_path / "out" / "classes.json").read_text())} == {
        str(folder / "one.png")
    }


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody look at memory, for which an interpreter is started that imports everything."""
    monkeypatch.setattr("nasvit.report.shipping.memory_of", lambda paths, *others: {})


@pytest.mark.usefixtures("forgetful")
def test_a_network_with_several_widths_is_used_at_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = FitConfig(
        network="mobilenet_v1",
        widths=(0.1, 0.2),
        data=DataConfig("digits", image_size=32, crop="pad"),
        recipe=Recipe(optimizer="sgd", learning_rate=0.1, weight_decay=0.0, epochs=1, batch_size=256),
        images=600,
    )
    fit(config, tmp_path)
    folder = tmp_path / "deployed"
    monkeypatch.setitem(FORMATS, "lookalike", Lookalike())
    for width in (0.1, 0.2):
        command(monkeypatch, "export", folder, "--to", "lookalike", "--width", width)
    exports = Card.read(folder).exports
    assert {name: each["width"] for name, each in exports.items()} == {"network-0.1.pt": 0.1, "network-0.2.pt": 0.2}
    capsys.readouterr()
    for network, options in (
        (folder, ["--width", 0.2]),
        (folder / "network-0.2.pt", []),
        (folder / "program-1.pt2", []),
    ):
        command(monkeypatch, "evaluate", network, "digits", *options, "--output", tmp_path / "numbers.json")
        accuracy = json.loads((tmp_path / "numbers.json").read_text())["accuracy"]
        assert accuracy == pytest.approx(exports["network-0.2.pt"]["parity"]["accuracy_of_network"], abs=0.003)
    command(monkeypatch, "bench", folder, "--width", 0.2, "--rounds", 1, "--out", tmp_path / "times.json")
    rows = json.loads((tmp_path / "times.json").read_text())["rows"]
    assert [row["network"] for row in rows] == [str(folder), str(folder / "network-0.2.pt")]


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["nasvit", *map(str, words)])
    cli.main()


def test_the_commands_write_use_and_evaluate(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(FORMATS, "lookalike", Lookalike())
    command(monkeypatch, "export", saved, "--to", "torch", "lookalike", "--int8", "--calibration", 100)
    shown = capsys.readouterr().out
    assert "359 test images of digits" in shown
    compared = "comparing it with the network on 359 test images of digits"
    assert shown.splitlines()[:8] == [
        "looking for images to compare with the network on",
        *("writing program.pt2", compared),
        *("writing network.pt", compared),
        "reading training images of digits",
        *("calibrating integers on 100 training images and writing network-int8.pt", compared),
    ]
    assert all(name in shown for name in ("program.pt2", "network.pt", "network-int8.pt"))
    assert set(Card.read(saved).exports) == {"program.pt2", "network.pt", "network-int8.pt"}

    results = []
    for network in (saved, saved / "program.pt2"):
        command(monkeypatch, "evaluate", network, "digits", "--output", tmp_path / "numbers.json")
        results.append(json.loads((tmp_path / "numbers.json").read_text()))
    assert (
        results[0]["accuracy"]
        == results[1]["accuracy"]
        == Card.read(saved).exports["program.pt2"]["parity"]["accuracy"]
    )
    assert np.sum(results[0]["confusion"]["true_by_predicted"]) == results[0]["images"] == 359
    right = np.trace(results[0]["confusion"]["true_by_predicted"]) / 359
    assert results[0]["accuracy"] == pytest.approx(right)

    folder = tmp_path / "pictures"
    folder.mkdir()
    pixels = next(iter(Pictures("digits", (1, 8, 8), CLASSES).test(3).evaluation_batches()))[0]
    for number, each in enumerate(pixels):
        Image.fromarray((each[0] * 255).round().byte().numpy()).save(folder / f"{number}.png")
    command(monkeypatch, "predict", saved / "program.pt2", folder, "--top", 2, "--out", tmp_path / "classes.csv")
    with (tmp_path / "classes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    run, _ = load_file(saved / "program.pt2")
    wanted = torch.from_numpy(run(pixels.numpy())).softmax(1)
    assert [row["class"] for row in rows[::2]] == [CLASSES[index] for index in wanted.argmax(1).tolist()]
    assert float(rows[0]["probability"]) == pytest.approx(float(wanted[0].max()), abs=1e-6)


def test_networks_are_timed_in_turns_with_their_files(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []
    taken = time_in_turns({name: partial(calls.append, name) for name in "ab"}, rounds=9, turn_ms=0.001)
    assert all(0 < each.median <= each.p90 and each.calls >= 9 for each in taken.values())
    assert len({*zip(calls, calls[1:])}) == 4  # in random order

    command(monkeypatch, "export", saved, "--to", "torch")
    command(monkeypatch, "bench", saved, "--threads", 1, 2, "--rounds", 2, "--out", tmp_path / "times.json")
    rows = json.loads((tmp_path / "times.json").read_text())["rows"]
    both = [str(saved), str(saved / "program.pt2")]
    assert [(row["network"], row["threads"]) for row in rows] == [(name, n) for n in (1, 2) for name in both]
    told = [row["memory"] for row in rows]
    assert told[2:] == [None, None]
    assert told[0] is None or all(0 < each < 100e6 for each in told[:2])
    assert "instructions for 8-bit integers" in capsys.readouterr().out
    monkeypatch.setattr("nasvit.report.shipping.memory_of", lambda paths, *others: {})
    monkeypatch.setattr(type(FORMATS["torch"]), "packages", ("no_such_package",))
    command(monkeypatch, "bench", saved, "--rounds", 1, "--out", tmp_path / "times.json")
    assert [row["network"] for row in json.loads((tmp_path / "times.json").read_text())["rows"]] == both[:1]
    assert "program.pt2 is left out: format torch needs no_such_package" in capsys.readouterr().err


@pytest.mark.usefixtures("forgetful")
def test_networks_that_have_only_a_name_are_timed_with_their_costs(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names, out = ("mobilenet_v1-0.25@32", "micro8:smallest"), tmp_path / "times.json"
    command(monkeypatch, "bench", *names, saved, "--runtimes", "torch", "onnx", "--rounds", 1, "--out", out)
    rows = json.loads(out.read_text())["rows"]
    labels = [label for name in names for label in (name, f"{name} in onnx")]
    assert [row["network"] for row in rows[:5]] == [*labels, str(saved)]
    small = create(names[0]).network
    assert {row["params"] for row in rows[:2]} == {sum(each.numel() for each in small.parameters())}
    assert rows[0]["macs"] == rows[1]["macs"] > rows[2]["macs"]
    assert "multiply-adds" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command(monkeypatch, "bench", names[0], "--runtimes", "paper")
    assert "runtime 'paper' is unknown; legal: torch, onnx" in capsys.readouterr().err


def test_every_published_network_and_family_can_be_named_at_once() -> None:
    names = every_name()
    assert {"alphanet_a0", "nasvit_smallest", "mobilenet_v2", "mobilenet_v2-0.35", "ghostnet_v3-1.3", "mcunet"} < {
        *names
    }
    assert len(names) == len({*names})
    for name in names:
        spec_of(name)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("export", "{net}", "--to", "paper"), "format 'paper' is unknown; legal: torch, onnx, openvino, executorch"),
        (("export", "{net}", "--to", "torch", "--int8"), "--int8: legal with --to onnx, openvino, executorch"),
        (("export", "{net}", "--to", "hub", "--int8"), "litert, web; give one besides: --to hub onnx"),
        (("export", "{net}", "--to", "torch", "--width", "0.5"), "has one width only"),
        (("export", "{net}/nothing", "--to", "torch"), "holds no saved network"),
        (("export", "{net}", "--to", "torch", "--calibration", "0"), "--calibration 0; legal are numbers of images"),
        (("predict", "{net}/network.pte", "x.png"), "network.pte: there is no such saved network or exported file"),
        (("predict", "{net}", "{net}", "--top", "0"), "--top: 0 is illegal; legal: whole numbers from 1"),
        (("evaluate", "{net}", "digits", "--output", "numbers"), "ends in .json"),
        (("evaluate", "{net}", "digits", "--device", "cuda"), "--device cuda is for experiments"),
        (("evaluate", "{net}", "digits", "--seed", "3"), "--seed is for experiments"),
        (("predict", "{net}", "nothing.png"), "nothing.png: there is no such image or folder"),
        (("predict", "{net}", "{net}"), "has no images in it"),
        (("predict", "{net}/card.json", "{net}"), "the card beside it tells of no such file (it tells of none)"),
        (("predict", "{net}", "x.png", "--out", "classes.txt"), "legal are names that end in .csv or .json"),
        (("bench", "{net}", "--rounds", "0"), "--rounds: 0 is illegal; legal: whole numbers from 1"),
        (("evaluate", "{net}"), "is a network; on which images?"),
        (("evaluate", "{net}", "digits", "digits"), "are several; give one source"),
    ],
)
def test_mistakes_are_said_in_words(
    words: tuple[str, ...],
    message: str,
    saved: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        command(monkeypatch, *(word.format(net=saved) for word in words))
    assert message in capsys.readouterr().err
