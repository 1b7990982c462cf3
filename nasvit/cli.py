"""The ``nasvit`` command: typed functions, one for each thing a user does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional

from nasvit.training.collapse import TrainingCollapsedError

Experiment = Annotated[Positional[Path], tyro.conf.arg(metavar="EXPERIMENT.yaml")]


@dataclass(frozen=True)
class _Where:
    """Which experiment, and where its results go.

    Args:
        experiment: a YAML file such as experiments/quickstart.yaml.
        output: folder of the results; runs/NAME if left out.
    """

    experiment: Experiment
    output: Path | None = None


def run(where: tyro.conf.OmitArgPrefixes[_Where]) -> None:
    """Run all stages of an experiment; run it again and it goes on where it was stopped."""
    from nasvit.experiment import pipeline
    from nasvit.report import results as report

    bench = pipeline.open_workbench(where.experiment, where.output)
    with _distributed():
        rows = pipeline.run(bench)
    if rows:  # the first process has them
        report.show(bench, rows)


def _stage(name: str, description: str) -> Callable[[Any], None]:
    def stage(where: tyro.conf.OmitArgPrefixes[_Where]) -> None:
        from nasvit.experiment import pipeline
        from nasvit.experiment.stages.search import check_budgets
        from nasvit.report import results as report

        bench = pipeline.open_workbench(where.experiment, where.output)
        if name == "train":
            print("\n".join(check_budgets(bench)))
        with _distributed():
            result = pipeline.STAGES[name](bench)
        if name == "evaluate" and result:
            report.show(bench, result)
        else:
            print(f"{name}: done, see {bench.folder}")

    stage.__doc__ = description
    return stage


def search_worker(where: tyro.conf.OmitArgPrefixes[_Where]) -> None:
    """Help with the search of an experiment, beside `nasvit search` and other workers, until it is complete.

    Workers share a database: the study in the folder of the results, or search.storage of the experiment. On another
    machine, give a copy of that folder (with supernet.pt) and a storage that both reach. A worker may be killed at any
    moment; what it was evaluating is evaluated again.
    """
    from nasvit.experiment import pipeline
    from nasvit.experiment.stages.search import work

    work(pipeline.open_workbench(where.experiment, where.output))
    print("search: all evaluations are complete")


def fit(
    config: Annotated[Positional[Path], tyro.conf.arg(metavar="FIT.yaml")],
    output: Path | None = None,
) -> None:
    """Train one compact network, with branches, inside wider networks (NetAug), or by a teacher, and deploy it plain.

    Args:
        config: a YAML file such as experiments/compact/cifar_netaug.yaml.
        output: folder of the results; runs/NAME if left out.
    """
    from nasvit.experiment import fit as fitting

    with _distributed():
        fitting.main(config, output)


def spaces() -> None:
    """List the search spaces: how many subnets, and what the smallest and the largest cost."""
    from nasvit.report.spaces import show_spaces

    show_spaces()


def profile(
    network: Annotated[Positional[str], tyro.conf.arg(metavar="NAME")],
    classes: int | None = None,
) -> None:
    """Show what a network costs, block by block: multiply-adds, parameters, peak activation memory.

    Args:
        network: a published network (alphanet_a0), a family at a width (mobilenet_v2-0.5), timm:MODEL,
            SPACE:smallest|largest|FILE.json, the folder of a saved network, or a file that nasvit import wrote.
        classes: classes of the classifier; those of its weights, or 1000, if left out.
    """
    from nasvit.report.profile import show_profile

    show_profile(network, classes)


def import_(
    source: Annotated[Positional[str], tyro.conf.arg(metavar="SOURCE")],
    checkpoint: Annotated[Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")],
    out: Annotated[Positional[Path], tyro.conf.arg(metavar="OUT.safetensors")],
) -> None:
    """Turn a released checkpoint into ours, without executing anything in it.

    Args:
        source: the family the checkpoint belongs to, such as nasvit or alphanet.
        checkpoint: the released file.
        out: the file to write.
    """
    from nasvit.importing import import_checkpoint

    print(import_checkpoint(source, checkpoint, out))


def latency_build() -> None:
    """Measure the blocks of a space on your device, for budgets such as latency<=5ms."""


def latency_use() -> None:
    """Print the latencies that a measured table predicts for subnets of its space."""


def _latency_commands() -> dict[str, Callable[..., None]]:
    """The real commands, whose arguments take long to import; until then their names and first lines do."""
    from nasvit.costs.latency import commands

    return {"latency-build": commands.latency_build, "latency-use": commands.latency_use}


COMMANDS: dict[str, Callable[..., None]] = {
    "run": run,
    "train": _stage("train", "Train the supernet."),
    "search": _stage("search", "Search the trained supernet under every budget."),
    "search-worker": search_worker,
    "extract": _stage("extract", "Extract the chosen subnets as plain networks."),
    "finetune": _stage("finetune", "Train the extracted subnets on."),
    "evaluate": _stage("evaluate", "Evaluate everything on the test images and print the table."),
    "fit": fit,
    "spaces": spaces,
    "profile": profile,
    "latency-build": latency_build,
    "latency-use": latency_use,
    "import": import_,
}


def main() -> None:
    """Entry point of the ``nasvit`` command; a user's mistake is one line, not a traceback."""
    words = _joined(sys.argv[1:])
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS | (_latency_commands() if words[:1] in (["latency-build"], ["latency-use"]) else {}),
            args=words,
            prog="nasvit",
            description="Small, fast vision models for a budget: train a supernet once, search, extract, fine-tune.",
        )
    except (ValueError, FileNotFoundError, ImportError, TrainingCollapsedError) as error:
        print(f"nasvit: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        print("\nnasvit: stopped; run the same command again to go on", file=sys.stderr)
        raise SystemExit(130) from None


def _joined(words: list[str]) -> list[str]:
    """Read a command of two words, such as ``search worker``, as the one that its name is."""
    command = "-".join(words[:2])
    return [command, *words[2:]] if command in COMMANDS else words


def _distributed() -> Any:
    from nasvit.training.processes import process_group

    return process_group()
