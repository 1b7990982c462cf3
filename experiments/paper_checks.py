"""What the recipes of the papers cost on this machine: ``--check`` of every file in ``examples/imagenet``.

    python -m experiments.paper_checks [FILE ...]

Writes ``experiments/results/paper_checks.txt``; files that are named are checked anew, the others keep what is there.
"""

from __future__ import annotations

import os
import sys
from datetime import date
from pathlib import Path

from nasvit.compute import open_compute
from nasvit.experiment.check import check_experiment, check_fit
from nasvit.files.records import versions
from nasvit.files.whole import write_text
from nasvit.report.checked import lines
from search_spaces.merging import read_merged

FILES = Path("examples/imagenet")
OUT = Path("experiments/results/paper_checks.txt")


def is_experiment(path: Path) -> bool:
    """Return whether a file is one of ``nasvit run``, not of ``nasvit fit``."""
    return "search" in read_merged(path).plain


def main(named: list[str]) -> None:
    """Check files, one after the other, and write what is found after each of them."""
    found = dict(_known())
    with open_compute() as compute:
        for path in map(Path, named or sorted(map(str, FILES.glob("*.yaml")))):
            check = check_experiment if is_experiment(path) else check_fit
            found[str(path)] = "\n".join(lines(check(path, (), compute)))
            print(found[str(path)], flush=True)
            told = ", ".join(f"{name} {version}" for name, version in versions().items())
            load = f"load average {os.getloadavg()[0]:.1f}"
            busy = f"{os.cpu_count()} processors, {load}: a step counts what others took, too"
            head = f"python -m experiments.paper_checks, {date.today()}; {told}\n{busy}"
            write_text(OUT, "\n\n".join([head, *(found[name] for name in sorted(found))]) + "\n")


def _known() -> list[tuple[str, str]]:
    """Return what is there already, by file."""
    parts = OUT.read_text(encoding="utf-8").split("\n\n")[1:] if OUT.exists() else []
    return [(part.partition(":")[0], part.rstrip()) for part in parts]


if __name__ == "__main__":
    main(sys.argv[1:])
