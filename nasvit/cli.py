"""The ``nasvit`` command: typed functions, one for each subcommand.

A command that reads a YAML file takes every field of that file as an option, besides its own: ``--finetune.epochs 20``.
"""

from __future__ import annotations

import functools
import inspect
import io
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import tyro
from tyro.conf import Positional

from nasvit.options import Overrides, take_overrides
from nasvit.training.collapse import TrainingCollapsedError

if TYPE_CHECKING:
    from nasvit.compute import Compute

_FIRST_GOES_FIRST = 3.0  # seconds
_LONGEST = 300  # characters of a path that is told
_MOST_WORDS = 100  # of a command that is certainly read
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "Cannot allocate memory")
_usual_warning = warnings.formatwarning
_TRUST = "--trust"

Experiment = Annotated[Positional[Path], tyro.conf.arg(metavar="EXPERIMENT.yaml")]
Fields = tyro.conf.Suppress[Overrides]
"""Fields of the file given as options; ``main`` removes them from the command line before tyro parses it."""


@dataclass(frozen=True)
class _Where:
    """The experiment, and the folder of its results.

    Args:
        experiment: a YAML file such as experiments/quickstart.yaml.
        output: folder of the results; runs/NAME if left out.
        device: auto (a GPU if there is one), cpu, cuda, cuda:1, mps or xpu; with torchrun every process takes its own.
    """

    experiment: Experiment
    output: Path | None = None
    device: str = "auto"


@dataclass(frozen=True)
class _What:
    """The experiment, or images alone, and the folder of the results.

    Args:
        experiment: a YAML file such as experiments/quickstart.yaml; or images, as in its data.source: then the space
            and all else follows from what the images look like, --budget and --hours.
        budget: what the network may cost, such as "macs<=20M and params<=500K"; of images, once for each network.
        output: folder of the results; runs/NAME if left out.
        device: auto (a GPU if there is one), cpu, cuda, cuda:1, mps or xpu; with torchrun every process takes its own.
        check: train nothing: build everything, try two steps of each training on made-up images, and print their costs.
    """

    experiment: Annotated[Positional[str], tyro.conf.arg(metavar="EXPERIMENT.yaml|IMAGES")]
    budget: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    output: Path | None = None
    device: str = "auto"
    check: bool = False


def run(what: tyro.conf.OmitArgPrefixes[_What], overrides: Fields = ()) -> None:
    """Run all stages of an experiment; a second run goes on where the first was stopped.

    With images instead of a file: nasvit run path/to/photos --budget "macs<=20M" --hours 1
    """
    from nasvit.experiment import pipeline
    from nasvit.experiment.compose import composed_file
    from nasvit.report import results as report

    if what.check:
        _check_run(what, overrides)
        return
    with _computing(what.device) as compute:
        file = compute.from_first(lambda: composed_file(what.experiment, what.budget, overrides, what.output))
        with pipeline.held_workbench(file, what.output, overrides, compute) as bench:
            compute.announce()
            rows = pipeline.run(bench)
            compute.once(lambda: report.show(bench, rows))


def _check_run(what: _What, overrides: Overrides) -> None:
    from nasvit.experiment.check import check_experiment
    from nasvit.report.checked import show_check
    from search_spaces.values import shown

    if what.budget or not what.experiment.endswith((".yaml", ".yml")):
        raise ValueError(f"--check: is for the file of an experiment, and {shown(what.experiment)} is run without one")
    with _computing(what.device) as compute:
        show_check(check_experiment(Path(what.experiment), overrides, compute))


def _stage(name: str, description: str) -> Callable[..., None]:
    def stage(where: tyro.conf.OmitArgPrefixes[_Where], overrides: Fields = ()) -> None:
        from nasvit.experiment import pipeline
        from nasvit.report import results as report

        with (
            _computing(where.device) as compute,
            pipeline.held_workbench(where.experiment, where.output, overrides, compute) as bench,
        ):
            compute.announce()
            pipeline.follow_plan(bench)
            experiment = bench.experiment
            if name in ("train", "extract") and not experiment.uses_supernet:
                compute.once(lambda: print(f"{name}: nothing to do, the networks are trained from random weights"))
                return
            if name == "train" and not experiment.search.trains_supernet:
                compute.once(lambda: print(f"{name}: nothing to do, subnets are compared before any training"))
                return
            if name == "train":
                feasibility = pipeline.check(bench)
                compute.once(lambda: print("\n".join(feasibility)))
            result = pipeline.STAGES[name](bench)
            if name == "evaluate":
                compute.once(lambda: report.show(bench, result))
            else:
                compute.once(lambda: print(f"{name}: done, see {bench.folder}"))

    stage.__doc__ = description
    return stage


@dataclass(frozen=True)
class _Evaluated:
    """An experiment, or a network with images.

    Args:
        experiment: a YAML file such as experiments/quickstart.yaml; or a saved network, or a file that nasvit export
            wrote, to be evaluated on images.
        images: of a network: images with a test split, as in the data.source of an experiment.
        output: folder of the results; runs/NAME if left out. Of a network: the JSON file that gets the numbers.
        device: auto (a GPU if there is one), cpu, cuda, cuda:1, mps or xpu; with torchrun every process takes its own.
            A network is evaluated on the processor.
        width: width of a saved network with several.
    """

    experiment: Annotated[Positional[Path], tyro.conf.arg(metavar="EXPERIMENT.yaml|NETWORK")]
    images: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGES")] = ()
    output: Path | None = None
    device: str = "auto"
    width: float | None = None


def evaluate(what: tyro.conf.OmitArgPrefixes[_Evaluated], overrides: Fields = ()) -> None:
    """Evaluate everything on the test images and print the table; or a saved network on any images.

    A network: nasvit evaluate runs/small/deployed path/to/images
    """
    from nasvit.export.card import way_out
    from nasvit.report import shipping
    from search_spaces.values import shown

    if len(what.images) > 1:
        raise ValueError(f"images: {shown(' '.join(what.images))} are several; give one source, such as a folder")
    if what.images:
        if overrides or what.device not in ("auto", "cpu"):
            given = f"--{overrides[0][0]}" if overrides else f"--device {what.device}"
            raise ValueError(f"{given} is for experiments; networks are evaluated on the processor, without fields")
        shipping.evaluate(what.experiment, what.images[0], out=what.output, width=what.width)
        return
    if shipping.is_network(what.experiment):
        raise ValueError(f"{what.experiment} is a network; on which images? nasvit evaluate {what.experiment} IMAGES")
    if what.experiment.is_dir():
        raise ValueError(f"{what.experiment} is no experiment (a .yaml file) and no network{way_out(what.experiment)}")
    _evaluate_stage(_Where(what.experiment, what.output, what.device), overrides)


_evaluate_stage = _stage("evaluate", "Evaluate everything on the test images and print the table.")


def search_worker(where: tyro.conf.OmitArgPrefixes[_Where], overrides: Fields = ()) -> None:
    """Help with the search of an experiment, beside `nasvit search` and other workers, until it is complete.

    Workers share a database: the study in the folder of the results, or search.storage of the experiment. On another
    machine, give a copy of that folder (with supernet.pt) and a storage that both reach. A worker may be killed at any
    moment; what it was evaluating is evaluated again.
    """
    from nasvit.experiment import pipeline
    from nasvit.experiment.planning import follow_known_plan
    from nasvit.experiment.stages.search import work

    with _computing(where.device) as compute:
        bench = pipeline.open_workbench(where.experiment, where.output, overrides, compute)
        compute.announce()
        follow_known_plan(bench)
        work(bench)
        compute.once(lambda: print("search: all evaluations are complete"))


def fit(
    config: Annotated[Positional[Path], tyro.conf.arg(metavar="FIT.yaml")],
    output: Path | None = None,
    device: str = "auto",
    check: bool = False,
    overrides: Fields = (),
) -> None:
    """Train one compact network, with branches, inside wider networks (NetAug), or by a teacher, and deploy it plain.

    Args:
        config: a YAML file such as experiments/compact/cifar.yaml.
        output: folder of the results; runs/NAME if left out.
        device: auto (a GPU if there is one), cpu, cuda, cuda:1, mps or xpu; with torchrun every process takes its own.
        check: train nothing: build everything, try two steps on made-up images, and print what the training costs.
    """
    from nasvit.experiment import fit as fitting

    if check:
        from nasvit.experiment.check import check_fit
        from nasvit.report.checked import show_check

        with _computing(device) as compute:
            show_check(check_fit(config, overrides, compute))
        return
    with _computing(device) as compute:
        fitting.main(config, output, overrides, compute)


def init(
    images: Annotated[Positional[str], tyro.conf.arg(metavar="IMAGES")],
    budget: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    hours: float = 1.0,
    space: str | None = None,
    out: Path = Path("experiment.yaml"),
    device: str = "auto",
) -> None:
    """Write a commented experiment for images and this machine, which says why each value is what it is.

    Args:
        images: a folder with train and val inside, and a folder a class in these; or as in the data.source of a file.
        budget: what the network may cost, such as "macs<=20M and params<=500K"; once for each network.
        hours: time that running the file takes on this machine; it is timed on these images now.
        space: a space of nasvit spaces, or a file; the one that fits the images and the budgets if left out.
        out: the file; one that is there is not replaced.
        device: auto (a GPU if there is one), cpu, cuda, cuda:1, mps or xpu.
    """
    from nasvit.experiment.begin import write_experiment

    with _computing(device) as compute:
        write_experiment(images, budget, hours, out, compute, space)


def fields(of: Positional[Literal["experiment", "fit"]]) -> None:
    """List the fields that a YAML file may have, as the options that set them.

    Args:
        of: the file of an experiment (`nasvit run`, ...), or of one training (`nasvit fit`).
    """
    from nasvit.report.fields import show_fields

    show_fields(of)


def suggest(
    budget: Annotated[Positional[str], tyro.conf.arg(metavar="BUDGET")],
    space: tuple[str, ...] = (),
    classes: int = 10,
    out: Path | None = None,
) -> None:
    """Name the network that is expected to be best within a budget, before anything is trained.

    Args:
        budget: limits such as "macs<=20M and params<=500K".
        space: names of search spaces; all of which subnets were measured if left out.
        classes: number of classes, which costs depend on.
        out: file that gets the architecture, of the costliest line.
    """
    from nasvit.report.suggest import show_suggestions

    show_suggestions(budget, space, classes, out)


def spaces(
    network: Annotated[Positional[str | None], tyro.conf.arg(metavar="[NETWORK]")] = None,
    image_size: int | None = None,
    classes: int = 1000,
) -> None:
    """List the search spaces with their costs; or show what can be decided in any network, layer by layer.

    Args:
        network: timm:MODEL, torchvision:MODEL, package.module:function, or another name of a network; the search
            spaces are listed if left out.
        image_size: side of the network's images in pixels; the one that it was designed for if left out.
        classes: number of classes.
    """
    if network is None:
        from nasvit.report.spaces import show_spaces

        show_spaces()
        return
    from nasvit.report.network import show_network

    show_network(network, image_size, classes)


def profile(
    network: Annotated[Positional[str], tyro.conf.arg(metavar="NAME")],
    classes: int | None = None,
) -> None:
    """Show the cost of a network, block by block: multiply-adds, parameters, peak activation memory.

    Args:
        network: a published network (alphanet_a0), a family at a width (mobilenet_v2-0.5), timm:MODEL,
            SPACE:smallest|largest|FILE.json, the folder of a saved network, or a file that nasvit import wrote.
        classes: number of classes; that of its weights, or 1000, if left out.
    """
    from nasvit.report.profile import show_profile

    show_profile(network, classes)


def export(
    network: Annotated[Positional[Path], tyro.conf.arg(metavar="FOLDER")],
    to: tuple[str, ...],
    int8: bool = False,
    images: str | None = None,
    width: float | None = None,
    calibration: int = 256,
    compared: int = 512,
    most_drop: float = 0.01,
    license: str | None = None,
    decoder: Literal["outside", "inside"] = "outside",
) -> None:
    """Write a saved network for other runtimes, and check that every file computes what the network does.

    Every file is loaded in its runtime and compared on test images; one that disagrees is not written. The card beside
    it says what was found. Files take pixels from 0 to 1: normalization is inside.

    Args:
        network: folder of a saved network, such as runs/small/deployed; it gets the files.
        to: formats: torch, onnx, openvino, executorch, litert; web: a page that runs it in the browser; hub: a folder
            for the Hugging Face hub, with all files that were exported.
        int8: also write them as integers of 8 bits, calibrated on training images; all but torch have that.
        images: images to compare and calibrate on, as in the data.source of an experiment; those that the network was
            trained on, if they are found.
        width: width of a network with several.
        calibration: training images that integers are calibrated on, at most.
        compared: test images that files are compared on, at most, spread over all.
        most_drop: accuracy, from 0 to 1, that integers may lose.
        license: identifier of the license of the network, such as apache-2.0, for those who get it.
        decoder: inside: files of detectors (onnx, torch; one image a call) give objects, and files of segmenters the
            class of every pixel, as NAME-decoded; outside: they give what the network says of every place or class.
    """
    from nasvit.report import shipping

    shipping.export(
        network,
        to,
        int8=int8,
        images=images,
        width=width,
        calibration=calibration,
        compared=compared,
        most_drop=most_drop,
        license=license,
        decoder=decoder,
    )


def bench(
    networks: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="NETWORK")],
    threads: tuple[int, ...] = (1,),
    rounds: int = 50,
    width: float | None = None,
    out: Path | None = None,
    runtimes: tuple[str, ...] = (),
) -> None:
    """Time one image in PyTorch and in every exported file, in turns on this processor.

    Args:
        networks: folders of saved networks, each with all files exported into it; such files; or names of networks
            (mobilenet_v2-0.5, alphanet_a0, timm:MODEL), which are built with random weights; named: all that are known.
        threads: numbers of threads.
        rounds: turns of each.
        width: width of a network with several.
        out: JSON file that gets the numbers.
        runtimes: formats to time besides PyTorch (onnx openvino executorch litert); networks that have only a name are
            written in them. Left out: all files that there are.
    """
    from nasvit.report import shipping

    shipping.bench(networks, threads=threads, rounds=rounds, width=width, out=out, runtimes=runtimes)


def predict(
    network: Annotated[Positional[Path], tyro.conf.arg(metavar="NETWORK")],
    images: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGE|FOLDER")],
    top: int | None = None,
    out: Path | None = None,
    width: float | None = None,
    threshold: float | None = None,
) -> None:
    """Print what a network says of images: the likeliest classes, the objects, or the share of every class.

    Args:
        network: folder of a saved network, or a file that nasvit export wrote into one.
        images: image files, and folders of them.
        top: how many classes a classifier names; 3 if left out.
        out: a .csv or .json file that gets them too; of a detector or segmenter also a picture such as boxes.png, with
            what was found drawn in, or a folder that gets one of each; NAME_mask.png gets the class of every pixel.
        width: width of a network with several.
        threshold: least score of an object that a detector names, from 0 to 1; 0.3 if left out.
    """
    from nasvit.report import shipping

    shipping.predict(network, images, top=top, out=out, width=width, threshold=threshold)


def activations(
    network: Annotated[Positional[Path], tyro.conf.arg(metavar="FOLDER")],
    images: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGE|FOLDER")],
    layer: str | None = None,
    channel: int | None = None,
    top: int = 9,
    out: Path = Path("activations.png"),
) -> None:
    """Draw the images that activate a channel of a network most, one row for every width that the network has.

    Each image is marked where the channel's largest value lies in its map, and framed in red where its folder has the
    name of another class than the network says. A JSON file beside the picture has files, values, places, and the
    share of images that widths have in common.

    Args:
        network: folder of a saved network.
        images: image files, and folders of them.
        layer: name of a layer, as its module is called; an unknown one gets the list of all. Left out: the last one
            with a map whose number of channels differs between widths.
        channel: number of a channel in the whole network; the first one that all widths have if left out.
        top: how many images.
        out: the picture.
    """
    from nasvit.report.activations import show_activations

    show_activations(network, images, layer=layer, channel=channel, top=top, out=out)


def report(
    folder: Annotated[Positional[Path], tyro.conf.arg(metavar="FOLDER")],
    out: Path | None = None,
    images: bool = True,
    test_images: int = 512,
) -> None:
    """Write one HTML file about a folder, finished or not, to be looked at in a browser and sent to others.

    Args:
        folder: folder of nasvit run or nasvit fit, or of a saved network.
        out: the file; report.html in the folder if left out.
        images: try the best network on test images, and show pictures that it gets wrong.
        test_images: how many, at most.
    """
    from nasvit.report.page.command import show_report

    show_report(folder, out, test_images if images else 0)


def runs(folder: Annotated[Positional[Path], tyro.conf.arg(metavar="FOLDER")] = Path("runs")) -> None:
    """List the runs in a folder: how far each of them is, what it found, what that costs, and who is writing there.

    Args:
        folder: folder whose folders are those of nasvit run and nasvit fit, finished or not; or one of these.
    """
    from nasvit.report.runs import show_runs

    show_runs(folder)


def tensorboard(
    folder: Annotated[Positional[Path], tyro.conf.arg(metavar="FOLDER")],
    out: Path | None = None,
    follow: bool = False,
) -> None:
    """Write the losses and scores of all trainings and of the search of a folder for TensorBoard.

    Args:
        folder: folder of results, finished, killed, or of a run that is under way.
        out: folder of TensorBoard's files; FOLDER/tensorboard if left out.
        follow: go on with what is written from now on, until stopped.
    """
    from nasvit.report.tensorboard import show_in_tensorboard

    show_in_tensorboard(folder, out, follow=follow)


def import_(
    source: Annotated[Positional[str], tyro.conf.arg(metavar="SOURCE")],
    checkpoint: Annotated[Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")],
    out: Annotated[Positional[Path], tyro.conf.arg(metavar="OUT.safetensors")],
) -> None:
    """Convert a released checkpoint to this library's names, without executing anything in it.

    Args:
        source: the release that the checkpoint belongs to, such as nasvit or alphanet.
        checkpoint: the released file.
        out: the file to write.
    """
    from nasvit.importing import import_checkpoint

    print(import_checkpoint(source, checkpoint, out))


def doctor(json: bool = False, benchmark: bool = True, device: str = "auto") -> None:
    """Print what a report of a bug should say: versions, processor, memory, devices, and how fast the machine is.

    Args:
        json: print JSON instead of text.
        benchmark: time a step of a training and a product of matrices, for about two seconds.
        device: the device that is timed: auto (a GPU if there is one), cpu, cuda, cuda:1, mps or xpu.
    """
    from nasvit.report.doctor import show_doctor

    show_doctor(as_json=json, benchmark=benchmark, device=device)


def latency_build() -> None:
    """Measure the blocks of a space on your device, for budgets such as latency<=5ms."""


def latency_use() -> None:
    """Print the latencies that a measured table predicts for subnets of its space."""


def _latency_commands() -> dict[str, Callable[..., None]]:
    """Return the latency commands with their arguments, whose import takes long."""
    from nasvit.report import latency as commands

    return {"latency-build": commands.latency_build, "latency-use": commands.latency_use}


COMMANDS: dict[str, Callable[..., None]] = {
    "init": init,
    "run": run,
    "train": _stage("train", "Train the supernet."),
    "search": _stage("search", "Search the trained supernet under every budget."),
    "search-worker": search_worker,
    "extract": _stage("extract", "Extract the chosen subnets as plain networks."),
    "finetune": _stage("finetune", "Train the extracted subnets on."),
    "evaluate": evaluate,
    "export": export,
    "bench": bench,
    "predict": predict,
    "activations": activations,
    "report": report,
    "runs": runs,
    "tensorboard": tensorboard,
    "fit": fit,
    "suggest": suggest,
    "fields": fields,
    "spaces": spaces,
    "profile": profile,
    "latency-build": latency_build,
    "latency-use": latency_use,
    "import": import_,
    "doctor": doctor,
}


_EXPERIMENT_EXAMPLES = ("experiment", "--finetune.epochs 20", '--search.budgets "[macs<=2M, macs<=4M]"')
FILE_COMMANDS = {
    **dict.fromkeys(
        ("run", "train", "search", "search-worker", "extract", "finetune", "evaluate"), _EXPERIMENT_EXAMPLES
    ),
    "fit": ("fit", "--recipe.epochs 20", '--recipe.schedule "{kind: step, milestones: [0.5, 0.75]}"'),
}
"""The commands that read a YAML file: the kind of the file, and two of its fields as examples of options."""


def main() -> None:
    """Entry point of the ``nasvit`` command; a user's mistake is one line, not a traceback."""
    if sys.argv[1:] == ["--version"]:
        from nasvit.files.records import versions

        print(f"nasvit {versions()['nasvit']}")
        return
    words = _joined([_expanded(word) for word in _without_trust(sys.argv[1:])])
    warnings.formatwarning = _in_words
    _print_any_name()
    try:
        _require_command(words)
        words, commands = _with_fields(words)
        tyro.extras.subcommand_cli_from_dict(
            commands | (_latency_commands() if words[:1] in (["latency-build"], ["latency-use"]) else {}),
            args=words,
            prog="nasvit",
            description="Small, fast vision models for a budget: choose by a prior or search a supernet, train, ship. "
            f"With {_TRUST}, every command also starts code that saved networks of others name or hold.",
        )
    except Exception as error:
        problem = _problem(error)
        if problem is None:
            raise
        _say(f"nasvit: {_with_short_words(problem)}")
        _leave(2)
    except KeyboardInterrupt:
        _say("\nnasvit: stopped; run the same command again to go on")
        _leave(130)


def _without_trust(words: list[str]) -> list[str]:
    """Take ``--trust`` out of the words of a command line; with it this process starts what files name."""
    if _TRUST in words:
        from nasvit.trust import trust_everything

        trust_everything()
    return [word for word in words if word != _TRUST]


def _problem(error: Exception) -> str | None:
    """Return what went wrong, where that is told by the error itself; None: it is a mistake of this library."""
    if isinstance(error, OSError) and error.strerror:  # of the system; others are of this library
        where = "" if error.filename is None else f"{str(error.filename)[:_LONGEST]}: "
        return f"{where}{error.strerror}; once that is mended, run the same command again"
    if isinstance(error, (ValueError, ImportError, OSError, TrainingCollapsedError)):
        return str(error)
    if type(error).__name__ == "StoppedElsewhere":  # whose class is not imported before it is needed
        return f"another process failed: {error}"
    if isinstance(error, RecursionError) and len(sys.argv) > _MOST_WORDS:
        return f"{len(sys.argv) - 1} words are more than a command takes; see nasvit --help"
    if isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY):
        told = str(error).strip().partition("\n")[0]
        return f"there is not enough memory ({told}); give a smaller batch_size, image_size or network"
    return None


def _with_short_words(problem: str) -> str:
    """Return a message in which words of the command line that are very long, or several lines, are shown as values."""
    for word in sorted(sys.argv[1:], key=len, reverse=True):
        if len(word) > _LONGEST or not word.isprintable():
            from search_spaces.values import shown

            problem = problem.replace(word, shown(word))
    return problem


def _in_words(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Return a warning as it is printed: one of this library's own without the line of code that gave it."""
    if category is UserWarning and Path(filename).is_relative_to(Path(__file__).parent):
        return f"nasvit: {message}\n"
    return _usual_warning(message, category, filename, lineno, line)


def _say(text: str) -> None:
    """Print why this process ends; of several on a machine the first goes first.

    When one ends, ``torchrun`` ends the others, so that what is wrong in all of them is not said by each.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        time.sleep(_FIRST_GOES_FIRST)
    print(text, file=sys.stderr, flush=True)


def _leave(status: int) -> NoReturn:
    """End this process, what it has to say being said.

    One of several ends at once: the threads through which PyTorch's processes talk abort the whole program where
    another process leaves while this one is still taking itself apart, and its exit status would be theirs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        raise SystemExit(status)
    for worker in multiprocessing.active_children():  # which an ordinary end would stop
        worker.terminate()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _with_fields(words: list[str]) -> tuple[list[str], dict[str, Callable[..., None]]]:
    """Remove the fields of a file from the words of a command line, and pass them to the command."""
    name = words[0] if words else ""
    if name not in FILE_COMMANDS:
        return words, COMMANDS
    left, overrides = take_overrides(words[1:])
    whose, *examples = FILE_COMMANDS[name]

    @functools.wraps(COMMANDS[name])
    def command(*arguments: Any, **options: Any) -> None:
        COMMANDS[name](*arguments, **options | {"overrides": overrides})

    command.__signature__ = inspect.signature(COMMANDS[name])  # type: ignore[attr-defined]
    del command.__wrapped__  # whose docstring older versions of tyro would show instead
    command.__doc__ = (
        f"{inspect.cleandoc(COMMANDS[name].__doc__ or '').partition('Args:')[0].strip()}\n\n"
        f"Any field of the file is an option too, and goes before what the file says: {' or '.join(examples)}. "
        f"`nasvit fields {whose}` lists them all.\n"
    )
    return [name, *left], COMMANDS | {name: command}


def _print_any_name() -> None:
    """Let names of files be printed that are no text in the terminal's encoding: in their own bytes if it has them."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        utf8 = sys.stdout.encoding.lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")


def _expanded(word: str) -> str:
    """Return a word with the home and the variables in it, which shells leave in quotes and behind an option's name."""
    if "~" not in word and "$" not in word:
        return word
    from search_spaces.paths import expanded

    return expanded(word)


def _joined(words: list[str]) -> list[str]:
    """Join a command of two words, such as ``search worker``, to one: ``search-worker``."""
    command = "-".join(words[:2])
    return [command, *words[2:]] if command in COMMANDS else words


def _require_command(words: list[str]) -> None:
    """Refuse a command that does not exist, with the nearest one that does."""
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        from search_spaces.reading import legal_names

        raise ValueError(f"there is no command {words[0]!r}; {legal_names(words[0], COMMANDS)}")


def _computing(device: str) -> AbstractContextManager[Compute]:
    from nasvit.compute import open_compute

    return open_compute(device)
