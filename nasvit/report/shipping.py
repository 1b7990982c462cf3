"""Commands that ship a network and use one: ``export``, ``bench``, ``predict``, ``evaluate`` of a saved network."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn

from nasvit.costs.counting import Cost, count
from nasvit.data.pictures import BATCH, Pictures, decodable, open_picture, picture_files
from nasvit.export.bundles import BUNDLES, Bundle, Told, bundle
from nasvit.export.bundles.describe import files_at
from nasvit.export.card import Card
from nasvit.export.formats import FORMATS, Format, format_of
from nasvit.export.saved import is_saved
from nasvit.export.shipping import Shipped, Shipping, with_shipped
from nasvit.export.timing import processor, time_in_turns
from nasvit.files.records import versions, write_json
from nasvit.heads.decoded import DecoderPlace
from nasvit.report.console import open_console
from nasvit.report.dense_scores import evaluate_dense
from nasvit.report.loaded import Loaded, plain_network, task_at, task_of_card
from nasvit.report.memory import memory_of
from nasvit.report.named import EVERY, build_named, every_name
from nasvit.report.predicting import check_options, show_found, write_rows
from nasvit.tasks.confusion import Confusion
from nasvit.training.progress import Progress
from search_spaces.ranges import MOST_THREADS, Range, Share, checks

_Width = Annotated[float, Range(0, 16, above=True)]
_Threads = Annotated[int, Range(1, MOST_THREADS)]


@checks
def export(
    folder: Path,
    to: tuple[str, ...],
    *,
    int8: bool,
    images: str | None,
    width: _Width | None,
    calibration: int,
    compared: int,
    most_drop: float,
    license: str | None = None,
    decoder: DecoderPlace = "outside",
) -> None:
    """Write a saved network in other formats, compare each with it, and print and keep what was found.

    Args:
        folder: folder of the saved network, which gets the files.
        to: names of formats, and of bundles of them.
        int8: also write them as integers of 8 bits.
        images: source of images to compare and calibrate on; those that it was trained on, if they are found.
        width: width of a network with several.
        calibration: training images that integers are calibrated on, at most.
        compared: test images that files are compared on, at most.
        most_drop: accuracy that integers may lose.
        license: identifier of the license that bundles state.
        decoder: inside: files choose objects or classes of pixels themselves.

    Raises:
        ValueError: if a format is unknown or cannot have the decoder inside, or, after all others were written, if one
            failed.
    """
    formats, bundles = _asked(to, int8=int8)
    network, card = plain_network(folder, width)
    told = Told(width, license, _costs(network, card) if bundles else {})
    for kind in bundles:
        kind.check_task(task_of_card(card))
        kind.require(told)
    _say("looking for images to compare with the network on")
    pictures, why = pictures_of(images, card)
    shipping = Shipping(
        network,
        card,
        folder,
        pictures,
        most_drop=most_drop,
        calibrated=calibration,
        compared=compared,
        width=width,
        decoder=decoder,
        say=_say,
    )
    for format in formats if decoder == "inside" else ():
        format.check_decoder(task_of_card(card))
    shipped, failed = _shipped(shipping, formats, int8=int8)
    if shipped:
        open_console().print(_table(shipped))
        print(_compared_on(folder, shipped[0], why, most_drop if int8 else None))
    floats = {each.format for each in shipped if not each.int8}
    for kind in bundles:
        if floats.issuperset(kind.formats):
            _say(f"writing {kind.name}/")
            print(f"{bundle(kind, folder, told)}: {kind.hint}")
    if failed:
        raise ValueError("\n".join(dict.fromkeys(failed)))


def _say(line: str) -> None:
    print(line, flush=True)  # also into a file or a pipe, before what may take minutes


def _shipped(shipping: Shipping, formats: list[Format], *, int8: bool) -> tuple[list[Shipped], list[str]]:
    """Write formats and tell of them in the card; return what was written, and what went wrong with others."""
    shipped, failed = list[Shipped](), list[str]()
    for format in formats:
        for integers in (False, True) if int8 and format.quantizes_with else (False,):
            try:
                each = shipping.ship(format, int8=integers)
            except (ValueError, ImportError) as error:
                failed.append(str(error))
                continue
            with_shipped(Card.read(shipping.folder), [each]).write(shipping.folder)
            shipped.append(each)
    return shipped, failed


def _asked(to: tuple[str, ...], *, int8: bool) -> tuple[list[Format], list[Bundle]]:
    """Return the formats and bundles of these names, with the formats that the bundles are made of."""
    if not to:
        raise ValueError("in which formats? Give --to onnx, for example")
    for name in to:
        if name not in {**FORMATS, **BUNDLES}:
            raise ValueError(f"format {name!r} is unknown; legal: {', '.join((*FORMATS, *BUNDLES))}")
    bundles = [BUNDLES[name] for name in dict.fromkeys(to) if name in BUNDLES]
    names = dict.fromkeys([*(name for name in to if name in FORMATS), *(n for each in bundles for n in each.formats)])
    formats = [FORMATS[name] for name in names]
    if int8 and not any(format.quantizes_with for format in formats):
        legal = [name for name, each in FORMATS.items() if each.quantizes_with]
        made_of_them = [name for name, each in BUNDLES.items() if {*legal}.intersection(each.formats)]
        besides = f"give one besides: --to {' '.join((*to, legal[0]))}"
        raise ValueError(f"--int8: legal with --to {', '.join((*legal, *made_of_them))}; {besides}")
    return formats, bundles


def _costs(network: nn.Module, card: Card) -> dict[str, int]:
    """Return the costs of a network for one image."""
    return asdict(count(network, *card.shape))


def pictures_of(asked: str | None, card: Card, *, download: bool = True) -> tuple[Pictures | None, str]:
    """Return images to compare on; those of the training if nobody asked for others, or why they are not there.

    Args:
        asked: a source; None: that of the training.
        card: card of the network.
        download: whether a data set may be downloaded that the training let torchvision download.

    Raises:
        ValueError: if the images that somebody asked for are not there.
    """
    data = card.origin.get("config", {}).get("data", {})
    source = asked or data.get("source")
    if source is None:
        return None, "the card tells of no images"
    kept = ("on_bad_image", "download") if download else ("on_bad_image",)
    reading = {name: data[name] for name in kept if name in data and asked is None}
    pictures = pictures_at(source, card, **reading)
    try:
        pictures.test(1)
    except (ValueError, OSError, ImportError) as error:
        if asked is not None:
            raise
        return None, str(error)
    return pictures, ""


def pictures_at(source: str, card: Card, **reading: Any) -> Pictures:
    """Return the images of a source as a network takes them, with what belongs to them by its task."""
    data = card.origin.get("config", {}).get("data", {})
    reading |= {"task": task_of_card(card), "ignore_index": data.get("ignore_index")}
    return Pictures(source, card.shape, card.classes, card.crop_pct, **reading)


def _compared_on(folder: Path, first: Shipped, why: str, most_drop: float | None) -> str:
    if first.compared_on == "noise":
        return f"{folder}: compared on noise ({why}); --images SOURCE compares on real images"
    images = first.parity.images
    told = f"{folder}: loaded in their runtimes and compared on {images} test images of {first.compared_on}"
    if first.choice is not None:
        told += f"; objects are those that the decoder inside chooses: scores above {first.choice.threshold:g}"
    if first.parity.metric == "accuracy" and most_drop is not None and 1 / images > most_drop:
        told += f", of which one is {100 / images:.1f} points: more than integers may lose, which so few cannot show"
    return told


def _table(shipped: list[Shipped]) -> Table:
    table = Table()
    for heading in ("file", "size", *shipped[0].parity.shown()):
        table.add_column(heading, justify="left" if heading == "file" else "right")
    for each in shipped:
        table.add_row(each.file, f"{each.bytes / 1e3:,.0f} kB", *each.parity.shown().values())
    return table


class Classifier(Loaded):
    """A saved classifier or a shipped file, which gives probabilities."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return probabilities ``(batch, classes)`` of pixels from 0 to 1 ``(batch, channels, height, width)``."""
        return self.outputs(pixels)[0].softmax(1)


@checks
def predict(
    path: Path,
    images: tuple[Path, ...],
    *,
    top: Annotated[int, Range(1, 1_000_000)] | None,
    out: Path | None,
    width: _Width | None,
    threshold: Share | None = None,
) -> None:
    """Print what a network says of images, and write it if a file is named: classes, objects, or shares of pixels.

    Args:
        path: a saved network, or an exported file.
        images: image files, and folders of them.
        top: how many classes a classifier names; 3 if left out.
        out: the file, or the folder that gets one picture each.
        width: width of a network with several.
        threshold: least score of a detector's objects.

    Raises:
        ValueError: if there are no such images, an option is not for this network, or the file cannot be written so.
    """
    task = task_at(path)
    if task != "classification":
        check_options(task, top=top, threshold=threshold)
        show_found(path, images, out=out, width=width, threshold=threshold)
        return
    if threshold is not None:
        raise ValueError(f"--threshold {threshold:g} is for detectors; {path} is a classifier, which takes --top")
    _classify(path, images, top=3 if top is None else top, out=out, width=width)


def _classify(path: Path, images: tuple[Path, ...], *, top: int, out: Path | None, width: float | None) -> None:
    if out is not None and out.suffix not in (".csv", ".json"):
        raise ValueError(f"--out {out}: legal are names that end in .csv or .json")
    if not images:
        raise ValueError("of which images? Give image files or folders of them")
    classifier = Classifier(path, width=width)
    names, rows = classifier.card.classes, list[dict[str, Any]]()
    for file, probabilities in _probabilities(classifier, picture_files(images)):
        best = probabilities.topk(min(top, len(names)))
        found = [(names[index], share) for index, share in zip(best.indices.tolist(), best.values.tolist())]
        print(f"{file}: " + ", ".join(f"{name} {share:.1%}" for name, share in found))
        rows += [
            {"file": str(file), "rank": n + 1, "class": name, "probability": p} for n, (name, p) in enumerate(found)
        ]
    if not rows:
        raise ValueError("none of the images can be decoded")
    if out is not None:
        write_rows(out, rows)


def _probabilities(classifier: Classifier, files: list[Path]) -> Iterator[tuple[Path, Tensor]]:
    """Yield the probabilities of every file; those that cannot be decoded are named and left out."""
    card = classifier.card
    for begin in range(0, len(files), BATCH):
        batch = files[begin : begin + BATCH]
        if opened := dict(decodable(batch, lambda file: open_picture(file, card.shape, card.crop_pct))):
            yield from zip(opened, classifier(torch.cat([*opened.values()])))


@dataclass(frozen=True)
class _Timed:
    """What is timed: a saved network or a file, what it is called, and, of a network that only has a name, its cost."""

    path: Path
    label: str
    cost: Cost | None = None


@checks
def bench(
    networks: tuple[str, ...],
    *,
    threads: tuple[_Threads, ...],
    rounds: Annotated[int, Range(1, 1_000_000)],
    width: _Width | None,
    out: Path | None,
    runtimes: tuple[str, ...] = (),
) -> None:
    """Print how long one image takes in PyTorch and in every exported file, in turns, and how much memory each adds.

    Args:
        networks: saved networks, each with all files exported into it; such files; names of networks.
        threads: numbers of threads.
        rounds: turns of each.
        width: width of networks with several.
        out: JSON file that gets the numbers too.
        runtimes: formats whose files are timed besides PyTorch, and that networks with a name alone are written in;
            none: all files that there are.

    Raises:
        ValueError: if a number is out of its range, a network or a runtime is unknown, or there is nothing to time.
    """
    if not threads:
        raise ValueError("on how many threads? Give --threads 1, for example")
    if not networks:
        raise ValueError("of which networks? Give saved networks, exported files, or names")
    formats = _formats_of(runtimes)
    with TemporaryDirectory() as folder:
        every = [each for network in networks for each in _to_time(network, width, formats, Path(folder))]
        rows = _in_turns(every, threads, rounds, width)
    open_console().print(_times(rows))
    name, instructions = processor()
    how = ", ".join(instructions) or "none: integers of 8 bits gain no time here"
    print(f"one image; {name}, instructions for 8-bit integers: {how}")
    if out is not None:
        content = {"processor": name, "int8_instructions": instructions, "rows": rows, "versions": versions()}
        write_json(out, content)


def _in_turns(every: list[_Timed], threads: tuple[int, ...], rounds: int, width: float | None) -> list[dict[str, Any]]:
    """Return a row for each network or file and number of threads."""
    rows, before = list[dict[str, Any]](), torch.get_num_threads()
    memory = memory_of([each.path for each in every if each.cost is None], threads[0], width)
    try:
        for count in threads:
            torch.set_num_threads(count)
            images = {each.label: one_image(each.path, count, width) for each in every}
            with Progress("timing in turns", rounds) as progress:
                taken = time_in_turns(images, rounds=rounds, after_round=progress.advance)
            for each in every:
                row = {"network": each.label, "threads": count, **asdict(taken[each.label])}
                costs = {} if each.cost is None else {"macs": each.cost.macs, "params": each.cost.params}
                rows.append({**row, "memory": memory.pop(str(each.path), None), **costs})
    finally:
        torch.set_num_threads(before)
    return rows


def _formats_of(runtimes: tuple[str, ...]) -> tuple[Format, ...]:
    """Return formats by name; of ``torch``, which runs networks as they are, no file is needed."""
    for name in runtimes:
        if name not in FORMATS:
            raise ValueError(f"runtime {name!r} is unknown; legal: {', '.join(FORMATS)}")
        FORMATS[name].require(writing=True)
    return tuple(FORMATS[name] for name in dict.fromkeys(runtimes))


def _to_time(network: str, width: float | None, formats: tuple[Format, ...], folder: Path) -> Iterator[_Timed]:
    """Yield what is timed of a saved network, a file or a name."""
    path = Path(network)
    if path.exists():
        wanted = {each.name for each in formats}
        for each, format in _with_files(path, width).items():
            if not wanted or each == path or format in wanted:
                yield _Timed(each, str(each))
        return
    names = every_name() if network == EVERY else (network,)
    with Progress("building and writing networks", len(names)) as progress:
        for name in names:
            saved, cost = build_named(name, [each for each in formats if each.name != "torch"], folder)
            for each, format in _with_files(saved, None).items():
                yield _Timed(each, f"{name} in {format}" if format else name, cost)
            progress.advance(note=name)


def one_image(path: Path, threads: int, width: float | None) -> Callable[[], object]:
    """Return what runs one image through a saved network, of ``width`` if it has several, or an exported file."""
    loaded = Loaded(path, threads, width if path.is_dir() else None, fold=True)
    image = np.random.default_rng(0).random((1, *loaded.card.shape), np.float32)
    return partial(loaded.run, image)


def _with_files(path: Path, width: float | None) -> dict[Path, str]:
    """Return a saved network and all files exported of it, at that width, that may be run here, with their formats.

    A file itself stands for itself; neither it nor a network has the name of a format.
    """
    found = {path: ""}
    if path.is_file():
        return found
    for file, entry in files_at(Card.read(path), path, width).items():
        format = format_of(entry["format"])
        try:
            format.require()
        except ImportError as error:
            print(f"nasvit: {path / file} is left out: {error}", file=sys.stderr)
            continue
        if not format.may_start(path / file):
            why = "it is a program that was not written here, and runs whatever its author put in; --trust runs it"
            print(f"nasvit: {path / file} is left out: {why}", file=sys.stderr)
            continue
        found[path / file] = format.name
    return found


def _times(rows: list[dict[str, Any]]) -> Table:
    table, first, named = Table(), rows[0]["median"], any("macs" in row for row in rows)
    costs = ("multiply-adds", "parameters") if named else ()
    memories = ("memory",) if any(row["memory"] is not None for row in rows) else ()
    for heading in ("network", *costs, "threads", "median", "p90", "times as fast as the first", *memories):
        table.add_column(heading, justify="left" if heading == "network" else "right", overflow="fold")
    for row in rows:
        cost = [f"{row[name] / 1e6:.1f}M" if name in row else "" for name in ("macs", "params")] if named else []
        times = [f"{row[name]:.2f} ms" for name in ("median", "p90")]
        memory = ["" if row["memory"] is None else f"{row['memory'] / 1e6:.0f} MB"] if memories else []
        table.add_row(row["network"], *cost, str(row["threads"]), *times, f"{first / row['median']:.2f}", *memory)
    return table


@checks
def evaluate(path: Path, source: str, *, out: Path | None, width: _Width | None) -> None:
    """Print the score of a saved network or a shipped file on test images, class by class, and what is mistaken.

    Raises:
        ValueError: if there is no such network, or the images have other classes.
    """
    if out is not None and out.suffix != ".json":
        raise ValueError(f"--output {out}: of a network this is the file that gets the numbers, and ends in .json")
    if task_at(path) != "classification":
        loaded = Loaded(path, width=width)
        evaluate_dense(loaded, path, source, pictures_at(source, loaded.card), out=out)
        return
    classifier = Classifier(path, width=width)
    card = classifier.card
    confusion = Confusion(len(card.classes))
    for pixels, targets in Pictures(source, card.shape, card.classes, card.crop_pct).test().evaluation_batches():
        confusion.update(classifier(pixels), targets)
    content = {
        "network": str(path),
        "images": confusion.images,
        "source": source,
        "accuracy": confusion.accuracy,
        "class_accuracy": confusion.class_accuracy,
        "loss": confusion.loss,
        "per_class": {
            name: None if np.isnan(each) else float(each) for name, each in zip(card.classes, confusion.per_class)
        },
        "confusion": {"classes": list(card.classes), "true_by_predicted": confusion.counts.tolist()},
    }
    open_console().print(_of_classes(card.classes, confusion))
    print(
        f"{path}: {content['accuracy']:.2%} of {confusion.images} test images of {source}, mean over classes "
        f"{content['class_accuracy']:.2%}, loss {content['loss']:.4f}"
    )
    if out is not None:
        write_json(out, content)


def _of_classes(classes: tuple[str, ...], confusion: Confusion) -> Table:
    """Return a row for every class, the worst ones first: its accuracy, and what it is mistaken for most."""
    table, per_class = Table(), confusion.per_class
    for heading in ("class", "images", "right", "mostly mistaken for"):
        table.add_column(heading, justify="right" if heading in ("images", "right") else "left")
    for index in np.argsort(np.nan_to_num(per_class, nan=2.0), kind="stable"):
        mistaken = confusion.mostly_for(index)
        other = "" if mistaken is None else f"{classes[mistaken[0]]} ({mistaken[1]})"
        right = "" if np.isnan(per_class[index]) else f"{per_class[index]:.1%}"
        table.add_row(classes[index], str(confusion.seen[index]), right, other)
    return table


def is_network(path: Path) -> bool:
    """Return whether a path is a saved network or a shipped file, and no experiment."""
    return (path.is_dir() and is_saved(path)) or (path.is_file() and is_saved(path.parent) and path.suffix != ".yaml")
