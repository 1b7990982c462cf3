"""The browser page: what it needs comes checked or not at all, and a real browser says what nasvit predict says."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

from nasvit.data.pictures import open_picture
from nasvit.export.bundles import BUNDLES, Told, bundle, onnxruntime_web
from nasvit.export.bundles.describe import name_of, without_folders
from nasvit.export.bundles.web import PAGE
from nasvit.export.card import Card
from nasvit.export.formats import FORMATS
from nasvit.export.saved import load_saved, save_network
from nasvit.models.plan import ChannelPlan
from nasvit.registry import spec_of
from nasvit.specs import PlannedSpec
from tests.nasvit.export.browser import CHROMIUM, browser, served
from tests.nasvit.export.classifiers import HOSTILE, classifier, command


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A small archive that counts as the published one, and an empty cache folder."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as file:
        for name in onnxruntime_web.FILES:
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(name)
            file.addfile(member, io.BytesIO(name.encode()))
    content = packed.getvalue()
    monkeypatch.setattr(onnxruntime_web, "INTEGRITY", b64encode(hashlib.sha512(content).digest()).decode())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return content


def put_into_cache(content: bytes) -> None:
    path = onnxruntime_web.archive()
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def exported(folder: Path) -> Card:
    """The card after a pretended export to ONNX."""
    (folder / "network.onnx").write_bytes(b"onnx")
    parity = {"images": 64, "deviation": 1e-7, "agreement": 1.0, "accuracy": None, "accuracy_of_network": None}
    entry = {"format": "onnx", "int8": False, "file": "network.onnx", "files": ["network.onnx"], "bytes": 4}
    entry |= {"width": None, "parity": parity, "compared_on": "noise"}
    replace(Card.read(folder), exports={"network.onnx": entry}).write(folder)
    return Card.read(folder)


def test_the_archive_is_downloaded_once_and_only_the_published_one_counts(
    archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served_at = tmp_path / "registry" / "onnxruntime-web" / "-" / onnxruntime_web.archive().name
    served_at.parent.mkdir(parents=True)
    with served(tmp_path / "registry") as address:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"{address}/")
        with pytest.raises(ValueError, match=r"404.*put it at .*cache/nasvit/onnxruntime-web"):
            onnxruntime_web.fetch()
        served_at.write_bytes(b"another")
        with pytest.raises(ValueError, match="is not onnxruntime-web .* as it was published"):
            onnxruntime_web.fetch()
        assert not onnxruntime_web.archive().parent.exists()
        served_at.write_bytes(archive)
        assert onnxruntime_web.fetch().read_bytes() == archive
    assert onnxruntime_web.fetch() == onnxruntime_web.archive()  # nobody serves it any more
    onnxruntime_web.archive().write_bytes(b"damaged")
    with pytest.raises(ValueError, match="kept from an earlier download, is not"):
        onnxruntime_web.fetch()


def test_the_registry_is_that_of_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert onnxruntime_web.registry() == "https://registry.npmjs.org"
    (tmp_path / ".npmrc").write_text("fund=false\nregistry = http://mirror.example/npm/\n")
    assert onnxruntime_web.registry() == "http://mirror.example/npm"
    monkeypatch.setenv("npm_config_registry", "http://other.example")
    assert onnxruntime_web.registry() == "http://other.example"


def test_a_page_tells_what_the_card_says_and_nothing_of_the_machine(archive: bytes, tmp_path: Path) -> None:
    folder = classifier(tmp_path / "net", "micro8:smallest", 8, 1)
    put_into_cache(archive)
    exported(folder)
    (folder / "web").mkdir()
    (folder / "web" / "photo.jpg").write_bytes(b"of the user")
    page = bundle(BUNDLES["web"], folder, Told())
    text = (page / "index.html").read_text()
    assert "subnet of micro8<" in text and "trained on photos" in text and "64 images of noise" in text
    assert HOSTILE not in text and "somebody" not in text
    embedded = text.partition('id="network">')[2].partition("</script>")[0]
    assert json.loads(embedded)["classes"] == list(Card.read(folder).classes)
    assert (page / "onnxruntime-web" / onnxruntime_web.FILES[0]).read_text() == onnxruntime_web.FILES[0]
    assert "MIT License" in (page / "onnxruntime-web" / "LICENSE").read_text()
    assert (page / "network.onnx").read_bytes() == b"onnx"
    told = Card.read(folder).bundles["web"]
    assert {folder / name for name in told} | {page / "photo.jpg"} == {p for p in page.rglob("*") if p.is_file()}
    save_network(*load_saved(folder)[:1], folder, replace(Card.read(folder), exports={}, bundles={}))
    assert [path for path in page.rglob("*")] == [page / "photo.jpg"]


def test_a_card_removes_nothing_outside_its_folder(tmp_path: Path) -> None:
    folder = classifier(tmp_path / "net", "micro8:smallest", 8, 1)
    (tmp_path / "other.txt").write_text("stays")
    replace(Card.read(folder), bundles={"web": ["../other.txt", str(tmp_path / "other.txt")]}).write(folder)
    save_network(*load_saved(folder)[:1], folder, replace(Card.read(folder), bundles={}))
    assert (tmp_path / "other.txt").read_text() == "stays"


def test_bundles_copy_nothing_from_or_to_places_outside_their_folder(archive: bytes, tmp_path: Path) -> None:
    folder = classifier(tmp_path / "outer" / "net", "micro8:smallest", 8, 1)
    put_into_cache(archive)
    card = exported(folder)
    (tmp_path / "x.sh").write_text("of another")
    (folder / "inside").mkdir()
    (folder / "inside" / "y.bin").write_text("deep")
    honest = card.exports["network.onnx"]
    strangers = ["../../x.sh", str(tmp_path / "x.sh"), "..", "inside/y.bin", r"..\..\x.sh", ""]
    entries = {f"{number}.onnx": {**honest, "files": [name]} for number, name in enumerate(strangers)}
    entries |= {name: honest for name in strangers} | {"a.onnx": {**honest, "file": "../../x.sh"}}
    replace(card, exports=entries | {"network.onnx": honest}).write(folder)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents}
    for kind in ("web", "hub"):
        assert "x.sh" not in "".join(path.name for path in bundle(BUNDLES[kind], folder, Told()).rglob("*"))
        assert (folder / kind / "network.onnx").read_bytes() == b"onnx"
        assert "x.sh" not in (folder / kind / ("index.html" if kind == "web" else "README.md")).read_text()
    assert list(Card.read(folder / "hub").exports) == ["network.onnx"]
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents}
    assert after == before


def test_networks_have_names_and_paths_become_names() -> None:
    names = {
        "micro8:largest": "subnet of micro8",
        "mobilenet_v2": "mobilenet_v2",
        "mobilenet_v2-0.25": "mobilenet_v2-0.25",
        "resnet18-0.6": "resnet18-0.6",
        "shufflenet_v2-1.5": "shufflenet_v2-1.5",
        "ghostnet_v3-1.3": "ghostnet_v3-1.3",
        "fbnetv3_a": "fbnetv3_a",
        "timm:resnet18": "resnet18 of timm",
        "torchvision:resnet18": "resnet18 of torchvision",
    }
    assert {name: name_of(spec_of(name)) for name in names} == names
    found = spec_of("mobilenet_v2-0.5")
    assert isinstance(found, PlannedSpec)
    other = replace(found, plan=ChannelPlan((11, *found.plan.channels[1:])))  # as AutoSlim finds channels
    assert name_of(other) == "mobilenet_v2 with channels of its own"
    paths = {"source": "/home/me/photos", "more": [r"C:\me\photos", "hf:me/photos", "photos/mine", 3, None]}
    assert without_folders(paths) == {"source": "photos", "more": ["photos", "hf:me/photos", "photos/mine", 3, None]}


CUTS = [(50, 70, 24, 0.875, 3), (70, 50, 24, 1.0, 3), (33, 36, 32, 0.9, 1), (9, 5, 8, 1.0, 1), (20, 31, 8, 1.0, 3)]


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_page_resizes_pictures_as_evaluation_does(tmp_path: Path) -> None:
    shutil.copy(PAGE / "pixels.js", tmp_path / "pixels.mjs")
    program = """
    import { numbersOf, planesOf } from "./pixels.mjs";
    import { readFileSync, writeFileSync } from "node:fs";
    const { width, height, input } = JSON.parse(process.argv[2]);
    const data = new Uint8ClampedArray(readFileSync("picture.raw"));
    writeFileSync("out.raw", new Uint8Array(numbersOf(planesOf({ data, width, height }, input)).buffer));
    """
    (tmp_path / "run.mjs").write_text(program)
    photo = Image.fromarray(load_sample_image("china.jpg"))
    for width, height, side, crop_pct, channels in CUTS:
        picture = photo.resize((width, height)).convert("RGBA")
        picture.save(tmp_path / "picture.png")
        (tmp_path / "picture.raw").write_bytes(picture.tobytes())
        asked = {"channels": channels, "side": side, "crop_pct": crop_pct}
        words = ["node", "run.mjs", json.dumps({"width": width, "height": height, "input": asked})]
        subprocess.run(words, cwd=tmp_path, check=True)
        found = np.frombuffer((tmp_path / "out.raw").read_bytes(), np.float32).reshape(channels, side, side)
        wanted = open_picture(tmp_path / "picture.png", (channels, side, side), crop_pct)[0].numpy()
        assert abs(found - wanted).max() <= 4 / 255  # releases of Pillow round tall pictures elsewhere
        assert abs(found - wanted).mean() <= 0.4 / 255


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_says_what_the_command_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FORMATS["onnx"].require(writing=True)
    try:
        onnxruntime_web.fetch()
    except ValueError as error:
        pytest.skip(str(error))
    folder = classifier(tmp_path / "net", "mobilenet_v2-0.25@32", 32, 3, crop_pct=0.875)
    command(monkeypatch, "export", folder, "--to", "web")
    page = folder / "web"
    for picture in ("china.jpg", "flower.jpg"):
        Image.fromarray(load_sample_image(picture)).save(page / picture, quality=90)
    Image.fromarray(np.rint(load_digits().images[3] * 15.9).astype(np.uint8)).save(page / "digit.png")
    names = ["china.jpg", "flower.jpg", "digit.png"]
    out = tmp_path / "classes.json"
    command(monkeypatch, "predict", folder / "network.onnx", *(page / each for each in names), "--top", 5, "--out", out)
    wanted = json.loads(out.read_text())
    script = "[...document.querySelectorAll('.classes li')].map((each) => ({...each.dataset}))"
    with served(page) as address, browser() as tab:
        tab.open(
            f"{address}/?" + "&".join(f"image={each}" for each in (*names, "nothing.jpg")),
            "document.querySelector('#state.bad') !== null",
        )
        assert "nothing.jpg: 404" in tab.value("document.getElementById('state').textContent")
        rows = tab.value(script)
        asked = tab.value("performance.getEntriesByType('resource').map((each) => each.name)")
    assert len(rows) == 15
    found = [row for first in (10, 5, 0) for row in rows[first : first + 5]]  # the page shows the last one first
    assert {row["class"] for row in found} <= {*Card.read(folder).classes}
    for row, expected in zip(found, wanted):
        if expected["rank"] == 1:
            assert row["class"] == expected["class"]
        assert float(row["probability"]) == pytest.approx(expected["probability"], abs=1e-3)
    assert asked and all(each.startswith(address) for each in asked)
