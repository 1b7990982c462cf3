"""How many measured networks an additive latency model needs.

    python -m experiments.benchmarks.latency_tables TABLE --measured 100 300 1000

The table holds ``arch`` ``(n, layers)``, ``devices`` and ``latency_ms`` ``(n, devices)``. The model adds one number for
each choice of each layer; its error is read on all networks it was not fitted on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.arrays import Codes
from predictors.metrics import kendall_tau
from predictors.ridge import Ridge
from search_spaces.genome import Gene, Genome


def device_error(
    genome: Genome, codes: Codes, milliseconds: NDArray[np.float64], measured: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the median relative error and Kendall's tau on networks that were not among the ``measured``."""
    order = rng.permutation(len(codes))
    known, held = order[:measured], order[measured:]
    model = Ridge(genome, target="identity", pairs=False).fit(codes[known], milliseconds[known])
    predicted, _ = model.predict(codes[held])
    error = np.abs(predicted - milliseconds[held]) / milliseconds[held]
    return float(np.median(error)), kendall_tau(predicted, milliseconds[held])


def latency_errors(path: Path, measured: Sequence[int], splits: int) -> list[dict[str, Any]]:
    """Return one record for each number of measured networks: errors over devices, each a mean over splits."""
    with np.load(path, allow_pickle=False) as file:
        values, devices, milliseconds = file["arch"], file["devices"], file["latency_ms"].astype(np.float64)
    choices = [np.unique(column) for column in values.T]
    varied = [column for column, legal in enumerate(choices) if len(legal) > 1]
    genome = Genome(tuple(Gene(f"layer{column}", tuple(choices[column].tolist()), ordinal=False) for column in varied))
    codes = np.stack([np.searchsorted(choices[column], values[:, column]) for column in varied], 1).astype(np.uint8)
    records = []
    for size in measured:
        found = np.array(
            [
                [
                    device_error(genome, codes, milliseconds[:, device], size, np.random.default_rng([split, 3]))
                    for split in range(splits)
                ]
                for device in range(len(devices))
            ]
        ).mean(axis=1)
        errors = dict(zip(devices.tolist(), found[:, 0].tolist(), strict=True))
        records.append(
            {
                "table": path.stem,
                "measured": size,
                "splits": splits,
                "median_error": float(np.median(found[:, 0])),
                "worst_error": float(found[:, 0].max()),
                "kendall_tau": float(np.median(found[:, 1])),
                "error_of_device": errors,
            }
        )
    return records


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--measured", nargs="+", type=int, default=[100, 200, 300, 1000])
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    records = latency_errors(options.table, options.measured, options.splits)
    print("measured  median error over devices  worst device  median tau")
    for record in records:
        print(
            f"{record['measured']:8}  {record['median_error']:25.2%}  {record['worst_error']:12.2%}"
            f"  {record['kendall_tau']:10.3f}"
        )
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
