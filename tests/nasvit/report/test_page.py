"""The page of a folder: it shows what is there, says what is not, and depends on nothing but itself."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nasvit import cli
from nasvit.costs.counting import count
from nasvit.data.pictures import Pictures
from nasvit.experiment.config import Experiment
from nasvit.experiment.fit import fit
from nasvit.experiment.pipeline import open_workbench, run
from nasvit.experiment.training import FitConfig
from nasvit.experiment.workbench import Workbench
from nasvit.export.bundles import BUNDLES, Told, bundle
from nasvit.export.card import Card
from nasvit.export.saved import load_saved, save_network, with_fused_structure
from nasvit.files.records import read_json, write_json
from nasvit.registry import create
from nasvit.report.console import short
from nasvit.report.page.command import show_report
from nasvit.report.page.curves import curves
from nasvit.report.page.head import head
from nasvit.report.page.holding import Entry, Holding, read_folder
from nasvit.report.page.mistakes import mistakes, shown_network
from nasvit.report.page.networks import table, tiles
from nasvit.report.page.reading import Reader
from nasvit.report.page.render import page
from nasvit.report.page.shipped import files
from nasvit.report.page.wrong import address
from nasvit.report.results import table_of
from nasvit.report.shipping import Classifier
from nasvit.specs import GhostNetSpec
from tests.nasvit.experiment.tiny import few_digits, without_programs, write_experiment

FEWER = {
    "budgets": "  budgets: [macs<=300K]",
    "evaluations": "  evaluations: 12",
    "finalists": "  finalists: 1",
    "random_subnets": "  random_subnets: 0",
    "evaluate_every": "  evaluate_every: 1",
    "compare": "compare: {random: 1}",
    "recipe": "  recipe: {optimizer: adamw, learning_rate: 4e-3, epochs: 1, batch_size: 64}",
}
EVIL = '<img src=x onerror="alert(1)">&'
TINY = """\
name: tiny
source: a test
resolution: 8
stem: {width: 8, stride: 1}
stages:
  - {name: first, block: mbconv, width: 8, depth: 2, kernel_size: 3, expand_ratio: 2, stride: 2}
head: {width: 16, expand_ratio: 2}
"""
FIT = """\
network: SPACE
data: {source: SOURCE, image_size: 8, crop: pad, validation: 0.2}
recipe: {optimizer: adamw, learning_rate: 1e-3, epochs: 1, batch_size: 16}
threads: 1
program: false
"""
_VOID = {"meta", "img", "br", "link", "input", "hr"}


class Parsed(HTMLParser):
    """A page, taken apart: every element must end, in the order in which they began."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.children: list[list[str]] = []
        self.texts: list[str] = []
        self._inside: list[int] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never ended: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._inside:
            self.children[self._inside[-1]].append(tag)
        self.elements.append((tag, dict(attrs)))
        self.children.append([])
        if tag not in _VOID:
            self.open.append(tag)
            self._inside.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> ends {self.open[-1:]}"
        self.open.pop()
        self._inside.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    @property
    def sections(self) -> list[str]:
        return [str(attributes["id"]) for tag, attributes in self.elements if tag == "section" and "id" in attributes]

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module", autouse=True)
def _no_programs() -> Iterator[None]:
    with without_programs(), few_digits(1000):
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A finished experiment, with a file that was exported and times."""
    folder = tmp_path_factory.mktemp("page")
    bench = open_workbench(write_experiment(folder, **FEWER), folder / "out")
    run(bench)
    deployed = folder / "out" / "subnets" / "macs-300K" / "finetuned"
    told = read_json(deployed / "card.json")
    (deployed / "network.onnx").write_bytes(b"onnx")
    parity = {"images": 359, "deviation": 1.25e-7, "agreement": 0.9931, "accuracy": 0.5, "accuracy_of_network": 0.51}
    file = {"format": "onnx", "file": "network.onnx", "files": ["network.onnx"], "int8": False}
    told["exports"] = {"network.onnx": {**file, "bytes": 127_563, "parity": parity, "compared_on": "digits"}}
    (deployed / "card.json").write_text(json.dumps(told))
    rows = [{"network": "network.onnx", "threads": 2, "median": 0.456, "p90": 0.789, "memory": 1_250_000}]
    (folder / "out" / "times.of.bench.json").write_text(json.dumps({"processor": "a processor", "rows": rows}))
    return bench


@pytest.fixture(scope="module")
def text(done: Workbench) -> str:
    return page(read_folder(done.folder), 64)


@pytest.fixture
def copied(done: Workbench, tmp_path: Path) -> Path:
    shutil.copytree(done.folder, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training on pictures whose classes have hostile names."""
    folder, rng = tmp_path_factory.mktemp("fitted"), np.random.default_rng(0)
    for split, images in (("train", 40), ("val", 9)):
        for name in (EVIL, "plain"):
            (folder / "images" / split / name).mkdir(parents=True)
            for number in range(images):
                pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(folder / "images" / split / name / f"{number}.png")
    (folder / "tiny.yaml").write_text(TINY)
    named = FIT.replace("SOURCE", str(folder / "images")).replace("SPACE", str(folder / "tiny.yaml"))
    (folder / "fit.yaml").write_text(named)
    fit(FitConfig.load(folder / "fit.yaml"), folder / "out")
    return folder / "out"


def test_a_finished_experiment_is_shown_whole(done: Workbench, text: str) -> None:
    shown = Parsed(text)
    assert shown.sections == ["networks", "curves", "search", "architectures", "mistakes", "files", "times"]
    assert "finished" in shown.texts
    assert "cannot be shown" not in text and "damaged" not in text
    rows = json.loads((done.folder / "results.json").read_text())["rows"]
    headings, cells = table_of(rows)
    assert all(each in shown.texts for each in [*headings, *(cell for row in cells for cell in row)])
    assert all((row["budget"] or f"({row['name']})") in shown.texts for row in rows)
    assert {"99.31%", "128 kB", "1.2e-07", "0.456 ms", "0.789 ms", "1.2 MB"} <= set(shown.texts)


def test_every_candidate_every_network_and_every_block_says_what_it_is(done: Workbench, text: str) -> None:
    shown, holding = Parsed(text), read_folder(done.folder)
    circles = [number for number, (tag, _) in enumerate(shown.elements) if tag == "circle"]
    assert all(shown.children[number] == ["title"] for number in circles)
    evaluated = [json.loads(line) for line in (done.folder / "search" / "evaluations.jsonl").read_text().splitlines()]
    (finalists,) = (done.folder / "search").glob("finalists-*")
    thorough = {json.loads(line)["key"]: json.loads(line) for line in finalists.read_text().splitlines()}
    for each in evaluated:
        assert f"accuracy {100 * thorough.get(each['key'], each)['score']:.2f}%" in text
    blocks = [shown.children[number] for number, (_, told) in enumerate(shown.elements) if "rx" in told]
    assert blocks
    for entry in holding.chosen:
        assert entry.deployed is not None
        depth = sum(Card.read(entry.deployed).spec.to_json()["architecture"]["depth"])
        assert f"{entry.title}: {depth + 2} blocks from left to right" in [
            each.replace("&lt;", "<") for each in shown.texts
        ]


def test_every_picture_has_a_title_and_no_two_parts_one_name(text: str) -> None:
    shown = Parsed(text)
    pictures = [number for number, (tag, _) in enumerate(shown.elements) if tag == "svg"]
    assert len(pictures) >= 8
    assert all(shown.children[number][0] == "title" for number in pictures)
    names = [told["id"] for _, told in shown.elements if "id" in told]
    assert len(set(names)) == len(names)
    used = [told["href"] for tag, told in shown.elements if "href" in told]
    used += [f"#{name}" for name in re.findall(r"url\(#([^)]+)\)", text)]
    assert used and {str(each)[1:] for each in used} <= set(names)


def test_nothing_is_fetched_and_nothing_runs(text: str) -> None:
    shown = Parsed(text)
    for _, told in shown.elements:
        for name in ("src", "href", "action", "poster", "srcset", "data"):
            assert str(told.get(name, "#")).startswith(("#", "data:image/"))
        assert not [name for name in told if name.startswith("on")]
    assert not shown.all("script") and not shown.all("link") and "@import" not in text
    assert not re.findall(r"url\((?!#)", text)


def test_the_same_folder_gives_the_same_page(done: Workbench, text: str) -> None:
    assert page(read_folder(done.folder), 64) == text


def test_colors_are_those_of_the_page(text: str) -> None:
    """Else a picture would be black on black where the page is dark."""
    pictures = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert "currentColor" in pictures and "var(--series-1)" in pictures
    assert not re.findall(r"#[0-9a-f]{6}\b", pictures)


def test_an_unfinished_experiment_is_shown_as_far_as_it_got(copied: Path) -> None:
    subnets = copied / "subnets"
    (copied / "report.html").write_text("of before")
    steps: list[tuple[list[Path], str]] = [
        ([copied / "results.json"], "final training was reached"),
        ([*subnets.glob("*/finetuned"), *subnets.glob("*/scratch")], "final training was reached"),
        ([*subnets.glob("*/*-training")], "extraction was reached"),
        ([subnets], "search was reached"),
        ([*copied.glob("search/*.json"), *copied.glob("search/*.jsonl")], "search was reached"),
        ([copied / "search"], "supernet was reached"),
        ([copied / "train"], "nothing was trained yet"),
        ([copied / "split.json", copied / "classes.json"], "nothing was trained yet"),
    ]
    (copied / "times.json").unlink()
    sections = ["networks", "curves", "search", "architectures", "files", "times"]
    for gone, state in steps:
        for path in gone:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        text = page(read_folder(copied), 0)
        shown = Parsed(text)
        assert f"not finished: {state}" in shown.texts
        assert "cannot be shown" not in text
        assert set(shown.sections) <= set(sections), "what is gone cannot come back"
        sections = shown.sections
    assert sections == ["times"]


def test_what_a_killed_search_evaluated_is_read_from_its_database(copied: Path, text: str) -> None:
    for path in (copied / "search" / "evaluations.jsonl", *copied.glob("search/finalists-*")):
        path.unlink()
    before = (copied / "search" / "study.db").read_bytes()
    left = page(read_folder(copied), 0)
    assert "12 candidates were evaluated, 0 measured thoroughly." in left
    assert re.search(r"12 candidates were evaluated, [1-9]\d* measured thoroughly.", text)
    assert (copied / "search" / "study.db").read_bytes() == before


def test_files_that_were_cut_off_are_named_and_the_rest_is_shown(copied: Path) -> None:
    cut = [path for path in copied.rglob("*") if path.suffix in (".json", ".jsonl", ".safetensors", ".db")]
    for path in cut:
        if path.name != "choices.json":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    text = page(read_folder(copied), 16)
    shown = Parsed(text)
    assert "networks" in shown.sections and "curves" in shown.sections
    for name in ("results.json", "experiment.json", "split.json", "search/predictor.json"):
        assert f"{name} is damaged or was cut off" in shown.text
    assert "mistakes cannot be shown" in shown.text


def test_files_that_hold_something_else_do_not_end_the_page(copied: Path) -> None:
    for path in [*copied.rglob("*.json"), *copied.rglob("*.jsonl")]:
        path.write_text("[1, null]\n")
    assert Parsed(page(read_folder(copied), 16)).all("footer")


def test_hostile_names_are_text(copied: Path) -> None:
    for name in ("experiment.json", "results.json", "search/choices.json", "classes.json", "times.of.bench.json"):
        content = (copied / name).read_text()
        for word in ("micro8", "macs<=300K", "a test", "network.onnx", '"0"'):
            content = content.replace(word.strip('"'), json.dumps(EVIL)[1:-1]) if word != '"0"' else content
        (copied / name).write_text(content)
    text = page(read_folder(copied), 0)
    shown = Parsed(text)
    assert EVIL in shown.text and not shown.all("img")
    assert "architectures" in shown.sections


def test_a_training_is_shown_with_what_its_network_gets_wrong(fitted: Path) -> None:
    holding = read_folder(fitted)
    shown = Parsed(page(holding, 512))
    assert shown.sections == ["networks", "curves", "architectures", "mistakes"]
    results = json.loads((fitted / "results.json").read_text())
    assert f"{results['deployed']['accuracy']:.2%}" in shown.texts
    assert EVIL in "".join(shown.texts)
    assert all(str(told["src"]).startswith("data:image/png;base64,") for told in shown.all("img"))

    (entry,) = holding.entries
    found = mistakes(entry, 512)
    card = Card.read(fitted / "deployed")
    source = results["config"]["data"]["source"]
    ((pixels, targets),) = Pictures(source, card.shape, card.classes).test().evaluation_batches()
    probabilities = Classifier(fitted / "deployed")(pixels)
    given = probabilities.argmax(1)
    wrong = (given != targets).nonzero().flatten().tolist()
    assert found.images == 18 and found.wrong_in_all == len(wrong) == len(found.wrong) == len(shown.all("img"))
    assert found.accuracy == pytest.approx(results["deployed"]["accuracy"], abs=1e-6)
    surest = max(wrong, key=lambda index: float(probabilities[index].max()))
    assert found.wrong[0].probability == float(probabilities[surest].max())
    assert (found.wrong[0].true, found.wrong[0].given) == tuple(card.classes[int(n[surest])] for n in (targets, given))
    stored = Image.open(io.BytesIO(base64.b64decode(found.wrong[0].data.partition(",")[2])))
    assert np.array_equal(np.array(stored), (pixels[surest] * 255).round().byte().permute(1, 2, 0).numpy())


def test_an_unfinished_training_is_shown_as_far_as_it_got(fitted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(fitted, folder)
    for gone, state, sections in [
        ("results.json", "evaluation was reached", ["curves", "architectures"]),
        ("deployed", "training was reached", ["curves", "architectures"]),
        ("training/metrics.jsonl", "the start was reached", ["architectures"]),
    ]:
        path = folder / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        shown = Parsed(page(read_folder(folder), 0))
        assert f"not finished: {state}" in shown.texts
        assert shown.sections == sections
        assert "learning rate" in shown.texts, "the recipe is known from the start"


def test_a_training_that_went_back_is_drawn_twice_and_says_so(tmp_path: Path) -> None:
    lines: list[dict[str, object]] = [{"step": step, "loss": 2.0 + step / 10} for step in (1, 2, 3)]
    lines += [{"step": 4, "loss": "NaN"}, {"step": 1, "event": "rollback", "collapsed_at": 4, "reason": "loss nan"}]
    lines += [{"step": step, "loss": 1.0} for step in (2, 3)] + [{"step": 3, "epoch": 1, "score": 0.25}]
    (tmp_path / "training").mkdir()
    log = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "training" / "metrics.jsonl").write_text(log + '{"step": 4, "loss": 0.')
    holding = read_folder(tmp_path)
    (group,) = curves(holding)
    assert group.notes == (
        "training: collapsed at step 4 (loss nan), and went on from step 1 at half the learning rate",
    )
    loss, score = group.figures
    (drawn,) = re.findall(r'<g id="network-0-loss-line-0">.*?<path d="(.*?)"', loss.svg, re.DOTALL)
    assert (drawn.count("M"), drawn.count("L")) == (2, 3), "a line of three steps and one of two"
    assert score.caption == "Accuracy on held-out images" and not holding.reader.notes
    with (tmp_path / "training" / "metrics.jsonl").open("a") as file:
        file.write('"}\n{"step": 4, "epoch": 2, "score": 0.5, "training_score": 0.75}\n')
    (group,) = curves(read_folder(tmp_path))
    assert group.figures[1].caption == "Accuracy on held-out and training images"
    assert len(re.findall(r'<g id="network-0-score-line-\d">', group.figures[1].svg)) == 2


def test_a_saved_network_alone_is_shown_with_its_costs(fitted: Path) -> None:
    text = page(read_folder(fitted / "deployed"), 0)
    shown, results = Parsed(text), json.loads((fitted / "results.json").read_text())
    assert shown.sections == ["networks", "architectures"]
    assert f"{results['macs'] / 1e3:.1f}K" in shown.texts and f"{results['params'] / 1e3:.1f}K" in shown.texts
    assert "cannot be shown" not in text


def test_a_folder_for_a_hub_is_shown_as_the_network_in_it(fitted: Path, tmp_path: Path) -> None:
    shutil.copytree(fitted / "deployed", tmp_path / "net")
    folder = bundle(BUNDLES["hub"], tmp_path / "net", Told())
    card = json.loads((folder / "config.json").read_text())
    parity = {"images": 9, "deviation": 1e-7, "agreement": 0.9876, "accuracy": None, "accuracy_of_network": None}
    file = {"format": "torch", "file": "program.pt2", "files": ["program.pt2"], "int8": False}
    card["nasvit"]["exports"] = {"program.pt2": {**file, "bytes": 5_000, "parity": parity, "compared_on": "noise"}}
    (folder / "config.json").write_text(json.dumps(card))
    holding = read_folder(folder)
    assert holding.kind == "network"
    shown, results = Parsed(page(holding, 0)), json.loads((fitted / "results.json").read_text())
    assert shown.sections == ["networks", "architectures", "files"]
    assert {f"{results['params'] / 1e3:.1f}K", "98.76%", "subnet", "8 px, 3 channels"} <= set(shown.texts)
    assert head(holding).finished and head(holding).classes == Card.read(fitted / "deployed").classes


def test_costs_of_a_fused_network_are_those_of_what_is_loaded(tmp_path: Path) -> None:
    network, card = create("ghostnet_v3-0.5@32", 10)
    assert isinstance(card.spec, GhostNetSpec)
    spec = card.spec.branched(2, scale=True, identity=True)
    save_network(
        with_fused_structure(spec.build(10).eval()), tmp_path / "net", Card(spec, tuple("abcdefghij"), fused=True)
    )
    loaded = count(load_saved(tmp_path / "net").network, 3, 32, 32)
    shown = table(read_folder(tmp_path / "net"))
    assert shown is not None and shown.rows[0][3:5] == (short(loaded.macs), short(loaded.params))
    assert loaded.params != count(spec.build(10), 3, 32, 32).params


@pytest.mark.parametrize("budget", ["int8 size<=40KB", "macs<=400K and int8_size<=40KB"])
def test_a_limit_on_the_size_of_integers_is_answered_with_it(copied: Path, budget: str) -> None:
    for name in ("results.json", "search/choices.json"):
        path = copied / name
        write_json(path, json.loads(json.dumps(read_json(path)).replace("macs<=300K", budget)))
    rows = json.loads((copied / "results.json").read_text())["rows"]
    sizes = [f"{row['int8_size'] / 1e3:,.0f} kB" for row in rows]
    headings, cells = table_of(rows)
    assert [row[headings.index("int8 size")] for row in cells] == sizes
    holding = read_folder(copied)
    assert [tile.value for tile in tiles(holding, holding.entries[0]) if tile.name == "int8 size"] == sizes[:1]
    (copied / "results.json").unlink()
    shown = table(read_folder(copied))
    assert shown is not None and shown.rows[0][shown.headings.index("int8 size")] == sizes[0]
    headings, cells = table_of([{k: v for k, v in row.items() if k != "int8_size"} for row in rows])
    assert {row[headings.index("int8 size")] for row in cells} == {""}, "an earlier version did not record it"


def test_sizes_of_integers_that_nobody_limits_are_left_out(done: Workbench) -> None:
    holding = read_folder(done.folder)
    shown = table(holding)
    assert shown is not None and "int8 size" not in shown.headings
    assert "int8 size" not in [tile.name for tile in tiles(holding, holding.entries[0])]


def test_exported_files_that_are_gone_are_said_to_be(copied: Path) -> None:
    assert [each.name for each in files(read_folder(copied))] == ["network.onnx"]
    (copied / "subnets" / "macs-300K" / "finetuned" / "network.onnx").unlink()
    assert [each.name for each in files(read_folder(copied))] == ["network.onnx (no longer there)"]


def test_a_few_test_images_are_spread_over_all_and_counted(done: Workbench) -> None:
    entry = shown_network(read_folder(done.folder))
    assert entry is not None
    found = mistakes(entry, 50)
    assert found.images == 50 == sum(cell.count for cell in found.cells)
    assert len({cell.row for cell in found.cells}) > 7


def test_the_network_that_is_tried_is_the_best_of_the_chosen_ones() -> None:
    def entry(name: str, score: float, *, chosen: bool = True, saved: bool = True) -> Entry:
        networks = {"finetuned": Path(name) / "finetuned"} if saved else {}
        choice = {"name": name} if chosen else {}
        return Entry(name, name, networks, row={"scores": {"finetuned": score, "scratch": 1.0}}, choice=choice)

    entries = (
        entry("good", 0.7),
        entry("best", 0.8),
        entry("unsaved", 0.9, saved=False),
        entry("largest", 0.95, chosen=False),
    )
    assert shown_network(Holding(Reader(Path()), "experiment", {}, {}, entries)) is entries[1]
    assert shown_network(Holding(Reader(Path()), "experiment", {}, {}, entries[2:])) is entries[3]
    assert shown_network(Holding(Reader(Path()), "experiment", {}, {}, ())) is None


def test_images_that_are_gone_are_said_to_be(fitted: Path, tmp_path: Path) -> None:
    shutil.copytree(fitted, tmp_path / "out")
    card = tmp_path / "out" / "deployed" / "card.json"
    moved = json.dumps(read_json(card)).replace(str(fitted.parent / "images"), str(tmp_path / "gone"))
    write_json(card, json.loads(moved))
    shown = Parsed(page(read_folder(tmp_path / "out"), 16))
    assert "mistakes" not in shown.sections
    assert "mistakes cannot be shown: the test images are not there" in shown.text


def test_several_widths_are_rows(tmp_path: Path) -> None:
    rows = [{"width": 0.5, "score": 0.6123, "macs": 1234.0, "params": 99.0}, {"width": {"a": 1}, "score": 0.7}]
    (tmp_path / "training").mkdir()
    (tmp_path / "results.json").write_text(json.dumps({"metric": "accuracy", "test_images": 9, "widths": rows}))
    assert {"0.5", "61.23", "found by AutoSlim", "70.00"} <= set(Parsed(page(read_folder(tmp_path), 0)).texts)


def test_the_file_in_the_page_makes_the_experiment_again(done: Workbench, fitted: Path, tmp_path: Path) -> None:
    kinds: list[tuple[Path, str, type[Experiment] | type[FitConfig]]] = [
        (done.folder, "experiment.json", Experiment),
        (fitted, "config.json", FitConfig),
    ]
    for folder, record, kind in kinds:
        top = head(read_folder(folder))
        assert top.again.startswith("nasvit run out.yaml" if kind is Experiment else "nasvit fit out.yaml")
        (tmp_path / "again.yaml").write_text(top.config)
        assert kind.load(tmp_path / "again.yaml").to_json() == read_json(folder / record)


def test_a_file_that_is_no_longer_read_promises_nothing(copied: Path) -> None:
    content = read_json(copied / "experiment.json")
    (copied / "experiment.json").write_text(json.dumps(content | {"of_later": 1}))
    top = head(read_folder(copied))
    assert "of_later" in top.config and not top.again


def test_a_page_claims_no_folder(tmp_path: Path) -> None:
    path = write_experiment(tmp_path)
    bench = open_workbench(path, tmp_path / "out")
    assert bench.images.shape
    show_report(tmp_path / "out")
    other = open_workbench(path, tmp_path / "out", [("seed", "3")])
    assert not other.has_begun


def test_large_pictures_are_made_smaller_and_small_ones_are_exact() -> None:
    photo = torch.rand(3, 400, 300, generator=torch.Generator().manual_seed(0))
    stored = Image.open(io.BytesIO(base64.b64decode(address(photo).partition(",")[2])))
    assert (stored.format, stored.size) == ("JPEG", (120, 160))
    drawing = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))
    exact = Image.open(io.BytesIO(base64.b64decode(address(drawing).partition(",")[2])))
    assert np.array_equal(np.array(exact), (drawing * 255).round().byte().permute(1, 2, 0).numpy())


def test_the_command_writes_the_page(
    fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(*words: object) -> None:
        monkeypatch.setattr(sys, "argv", ["nasvit", "report", *map(str, words)])
        cli.main()

    shutil.copytree(fitted, tmp_path / "out")
    command(tmp_path / "out", "--no-images")
    assert f"{tmp_path / 'out' / 'report.html'}: " in capsys.readouterr().out
    written = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Mistakes: left out" in written and written.lstrip().startswith("<!DOCTYPE html>")
    command(tmp_path / "out", "--out", tmp_path / "new" / "page.html", "--test-images", 5)
    assert "of 5 test images" in (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    for words, message in [
        ((tmp_path / "nothing",), "is no folder"),
        ((tmp_path,), "holds nothing that nasvit run, nasvit fit or nasvit export wrote"),
        ((fitted, "--out", "page.pdf"), "legal are names that end in .html"),
        ((fitted, "--test-images", -1), "legal: whole numbers from 0"),
    ]:
        with pytest.raises(SystemExit):
            command(*words)
        assert message in capsys.readouterr().err
