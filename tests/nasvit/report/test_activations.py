"""The images that activate a channel most, at every width of a network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nasvit.data.pictures import open_picture
from nasvit.export.card import Card
from nasvit.export.saved import save_network
from nasvit.export.switchable import SwitchableModel, deploy, spec_of_widths
from nasvit.names import FAMILIES
from nasvit.report.activations import _ranges
from nasvit.supernets.slimmable import SlimmableNetwork
from tests.nasvit.export.classifiers import command

CLASSES, MEAN, DEVIATION = ("cat", "dog"), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SwitchableModel]:
    """A network of two widths, and its folder."""
    network = SlimmableNetwork(FAMILIES["mobilenet_v1"](), (0.25, 0.5), 2, seed=1)
    network.calibrate([torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))])
    spec, model = spec_of_widths(network, network.widths), deploy(network)
    folder = tmp_path_factory.mktemp("wide") / "deployed"
    save_network(model, folder, Card(spec, CLASSES, 32, MEAN, DEVIATION))
    return folder, model


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen images of noise, in the folders of two classes."""
    folder, generator = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(12):
        file = folder / CLASSES[number % 2] / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (40, 48, 3), np.uint8)).save(file)
    (folder / "broken.png").write_bytes(b"nothing")
    return folder


def values_of(network: nn.Module, photos: Path) -> dict[str, tuple[float, int, int]]:
    """By image, the largest value of the third channel of a network's first convolution, with its row and column."""
    found = {}
    for file in sorted(photos.glob("*/*.png")):
        pixels = open_picture(file, (3, 32, 32))
        normal = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]
        map = network.get_submodule("stem.conv.conv")(normal)[0, 2]
        row, column = divmod(int(map.argmax()), map.shape[1])
        found[str(file)] = (float(map.max()), row, column)
    return found


def test_every_width_has_a_row_of_the_images_that_activate_the_channel_most_and_where(
    wide: tuple[Path, SwitchableModel],
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder, model), out = wide, tmp_path / "new" / "strong.png"
    command(
        monkeypatch,
        "activations",
        folder,
        photos,
        "--layer",
        "stem.conv.conv",
        "--channel",
        2,
        "--top",
        4,
        "--out",
        out,
    )
    shown, told = capsys.readouterr(), json.loads(out.with_suffix(".json").read_text())
    assert "broken.png is left out" in shown.err
    assert [(row["width"], row["channels"]) for row in told["rows"]] == [(0.25, 8), (0.5, 16)]
    strongest = []
    for width, row in zip((0.25, 0.5), told["rows"], strict=True):
        wanted = values_of(model.export(width).eval().requires_grad_(False), photos)
        order = sorted(wanted, key=lambda file: -wanted[file][0])[:4]
        assert [each["file"] for each in row["strongest"]] == order
        for each in row["strongest"]:
            value, y, x = wanted[each["file"]]
            assert each["value"] == pytest.approx(value, rel=1e-5)
            assert each["place"] == [2 * x, 2 * y, 2 * x + 2, 2 * y + 2]  # the convolution halves 32 pixels
            assert each["predicted"] in CLASSES
        strongest.append(set(order))
    share = len(strongest[0] & strongest[1]) / 4
    assert told["images"] == 12 and told["by_chance"] == 4 / 12
    assert told["common_to_two"] == told["common_to_all"] == share
    assert f"two widths share {share:.0%} in the mean (chance: 33.3%)" in shown.out
    assert Image.open(out).size > (600, 400)


def test_without_more_words_it_is_the_last_map_that_differs_and_of_a_plain_network_there_is_one_row(
    wide: tuple[Path, SwitchableModel], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder, model), out = wide, tmp_path / "strong.png"
    command(monkeypatch, "activations", folder, photos, "--top", 2, "--out", out)
    told = json.loads(out.with_suffix(".json").read_text())
    assert (told["layer"], told["channel"]) == ("stages.3.5.project.norm", 0)  # maps of 1x1 come after it

    card = Card.read(folder)
    save_network(model.export(0.5), tmp_path / "plain", Card(card.spec.plain(0.5), CLASSES, 32, MEAN, DEVIATION))
    command(monkeypatch, "activations", tmp_path / "plain", photos, "--top", 20, "--out", out)
    (row,) = json.loads(out.with_suffix(".json").read_text())["rows"]
    assert row["width"] is None and len(row["strongest"]) == 12  # there are no more images


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--layer", "stem.cnv.conv"), "no such layer with channels at every width; nearest: stem.conv."),
        (
            ("--layer", "stem.conv.conv", "--channel", "8"),
            "--channel 8: stem.conv.conv has the channels 0 to 7 at width 0.25",
        ),
        (("--top", "0"), "--top: 0 is illegal"),
        (("--out", "strong.txt"), "legal are names that end in .png"),
    ],
)
def test_mistakes_are_said_in_words(
    words: tuple[str, ...],
    message: str,
    wide: tuple[Path, SwitchableModel],
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        command(monkeypatch, "activations", wide[0], photos, *words)
    assert message in capsys.readouterr().err


def test_channels_with_gaps_are_told_as_ranges() -> None:
    assert _ranges((0, 1, 2, 7, 9, 10)) == "0 to 2, 7, 9 to 10"
