"""``python -m tests.parity``: compute every number of golden folders again and print a table."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

from tests.parity import files, kinds
from tests.parity.rows import Row, attempt

DESCRIPTION = """\
Compute the numbers of released networks again with ours and compare them, in float64.

A folder may hold case files of any kind; rule.md and state-dict layouts are no cases. A kind is told by what is in
the file, so other subnets, widths and models of the same families can be compared too. A file of unknown kind fails.

Deviations are relative: lists over the largest magnitude, sums over the L2 norm; counts and arg-max must be equal.
"differs" is a difference by design: it is printed with its reason and counts as neither passed nor failed.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 if nothing failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.parity", description=DESCRIPTION, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="DIR_OR_FILE", help="golden folders or case files")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch (default: 1)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        paths = list(files.case_files(options.paths))
    except ValueError as error:
        parser.error(str(error))
    counts = print_table(paths)
    return 1 if counts["fail"] or not counts["pass"] else 0


def print_table(paths: list[Path]) -> Counter[str]:
    """Compare all files, print a row as soon as it is known, and return how many rows have each status."""
    counts: Counter[str] = Counter()
    print(f"{'case':<88} {'deviation':>10} {'tolerance':>10}  status", flush=True)
    for path in paths:
        print(f"{path.parent.name}/{path.name}", flush=True)
        for row in compare(path):
            counts[row.status] += 1
            note = f"  ({row.note})" if row.note else ""
            print(f"  {row.case:<86} {row.deviation:>10.1e} {row.tolerance:>10.1e}  {row.status}{note}", flush=True)
    print(f"{counts['differs']} differ by design")
    print(f"{counts['pass']} passed, {counts['fail']} failed")
    return counts


def compare(path: Path) -> Iterator[Row]:
    """Compare one case file; what stops it is a failed row, so that the other files are still compared."""
    yield from attempt(path.name, _compare(path))


def _compare(path: Path) -> Iterator[Row]:
    content = files.read(path)
    yield from kinds.find(path, content).run(path, content)


if __name__ == "__main__":
    sys.exit(main())
