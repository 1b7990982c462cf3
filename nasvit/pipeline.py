"""All stages of an experiment, one after the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nasvit.config import Experiment
from nasvit.experiment import Workbench, write_json
from nasvit.provenance import plain_config
from nasvit.stages.evaluate import evaluate
from nasvit.stages.extract import extract
from nasvit.stages.finetune import finetune
from nasvit.stages.search import check_budgets, search
from nasvit.stages.train import train

Stage = Callable[[Workbench], Any]

STAGES: dict[str, Stage] = {
    "train": train,
    "search": search,
    "extract": extract,
    "finetune": finetune,
    "evaluate": evaluate,
}


def open_workbench(path: Path, output: Path | None = None) -> Workbench:
    """Read an experiment and open its folder.

    Args:
        path: a YAML file.
        output: folder of the results; left out: the file's ``output``, else ``runs/`` and the name of the file.

    Raises:
        ValueError: for a mistake in the file, named with its line, or a folder that another experiment began.
    """
    experiment = Experiment.load(path)
    folder = output or experiment.output or Path("runs") / path.stem
    bench = Workbench(experiment, folder)
    _claim(folder / "experiment.json", plain_config(experiment))
    return bench


def run(bench: Workbench) -> list[dict[str, Any]]:
    """Run every stage that is not finished, in order; killed at any moment, it goes on when run again.

    Returns:
        One row for each subnet, see :func:`nasvit.stages.evaluate.evaluate`.

    Raises:
        ValueError: for a budget that no subnet meets, before anything is trained.
    """
    check_budgets(bench)
    if not (bench.folder / "supernet.pt").exists():
        train(bench)
    if not (bench.folder / "search" / "choices.json").exists():
        search(bench)
    extract(bench)
    finetune(bench)
    return evaluate(bench)


# Parts of an experiment that later stages read anew; the others decide what is in the folder already.
_FREE = ("search", "finetune", "compare", "threads", "note")


def _claim(path: Path, config: dict[str, Any]) -> None:
    """Write down which experiment a folder belongs to, or check that it is this one."""
    if path.exists():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        changed = [key for key in config if key not in _FREE and config[key] != earlier.get(key)]
        if changed:
            raise ValueError(
                f"{path.parent} holds results of an experiment with another {', '.join(changed)}; "
                "give another output folder, or remove that one"
            )
    write_json(path, config)
