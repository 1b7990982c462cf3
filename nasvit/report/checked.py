"""What a check found, in lines."""

from __future__ import annotations

import torch

from nasvit.experiment.check import Checked
from nasvit.experiment.trial import Trial


def show_check(checked: Checked) -> None:
    """Print what a check found."""
    print("\n".join(lines(checked)))


def lines(checked: Checked) -> list[str]:
    """Return what a check found: the data, the budgets, and a line of costs for everything that is trained."""
    data = checked.data
    counts = f"{data.train:,} training, {data.validation:,} held-out and {data.test:,} test images"
    height, width = data.size
    count = torch.get_num_threads()
    threads = f", {count} thread{'s' if count > 1 else ''}" if checked.compute.on_processor else ""
    told = [
        f"{checked.file}: everything can be built, and steps can be made",
        f"device: {checked.compute}{threads}",
        f"data: {data.told}",
        f"    {counts} of {len(data.classes):,} classes, {data.channels} channels, {width}x{height} pixels",
        *checked.remarks,
        _HEAD.format("costs, about", "epochs", "batch", "steps", "images seen", "memory", "a step", "hours", ""),
        *map(_of_training, checked.trainings),
    ]
    if checked.search is not None:
        told.append(_HEAD.format("search", *[""] * 6, hours(checked.search.hours), checked.search.told))
    if len(told) > 7:
        told.append(_HEAD.format("all together", *[""] * 6, hours(checked.hours), ""))
    return [*(line.rstrip() for line in told), *(f"note: {note}" for note in checked.notes)]


_HEAD = "{:<36} {:>6} {:>6} {:>11} {:>15} {:>10} {:>10} {:>10}  {}"


def _of_training(trial: Trial) -> str:
    how = "" if trial.tried == trial.batch_size else f"tried with {trial.tried} images"
    how += "" if trial.measured else f"{', ' if how else ''}memory estimated"
    return _HEAD.format(
        trial.name,
        trial.epochs,
        trial.batch_size,
        f"{trial.steps:,}",
        f"{trial.images:,}",
        f"{trial.memory / 2**30:.2f} GiB",
        f"{trial.seconds:.3g} s",
        hours(trial.hours),
        how,
    )


def hours(count: float) -> str:
    """Return hours as text, to two digits."""
    return f"{count:,.0f}" if count >= 100 else f"{count:.2g}"
