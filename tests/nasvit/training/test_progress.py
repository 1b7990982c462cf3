"""Progress with and without a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from nasvit.training.progress import Progress, part_of


def progress_without_terminal(seconds: list[float], **options: int) -> tuple[Progress, io.StringIO]:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=False, width=200)
    return Progress("train", 100, console=console, clock=lambda: seconds[0], **options), shown


def test_without_a_terminal_there_is_a_line_every_half_minute() -> None:
    now = [0.0]
    progress, shown = progress_without_terminal(now)
    with progress:
        for _ in range(20):
            now[0] += 10
            progress.advance(note="loss 1.50")
    assert shown.getvalue().splitlines()[0] == "train: 3/100, 16:10 left, loss 1.50"
    assert len(shown.getvalue().splitlines()) == 6


def test_a_resumed_run_estimates_from_what_it_did_itself() -> None:
    now = [0.0]
    progress, shown = progress_without_terminal(now, done=50)
    now[0] = 36.0
    progress.advance()
    assert shown.getvalue() == "train: 51/100, 29:24 left\n"


def test_hours_are_shown_as_hours() -> None:
    now = [0.0]
    progress, shown = progress_without_terminal(now)
    now[0] = 100.0
    progress.advance()
    assert "2:45:00 left" in shown.getvalue()


def test_the_whole_job_is_told_beside_and_only_inside_it() -> None:
    now, asked = [0.0], list[float]()

    def job() -> str:
        asked.append(now[0])
        return f"stage 2 of 5, {now[0]:.0f} s"

    with part_of(job):
        progress, shown = progress_without_terminal(now)
        for now[0] in (0.1, 0.2, 40.0):
            progress.advance(note="loss 1.50")
    assert shown.getvalue() == "train: 3/100, 21:33 left, loss 1.50 (stage 2 of 5, 40 s)\n"
    assert asked == [0.0, 40.0]
    outside, shown = progress_without_terminal(now)
    now[0] = 80.0
    outside.advance()
    assert "stage" not in shown.getvalue()
    with part_of(job), Progress("search", 10, console=Console(file=shown, force_terminal=True, width=150)) as bar:
        bar.advance()
    assert "stage 2 of 5, 80 s" in shown.getvalue()


def test_on_a_terminal_there_is_a_bar_with_the_note() -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=120)
    with Progress("train", 10, console=console) as progress:
        progress.advance(10, note="loss [0.5]")
    assert "10/10" in shown.getvalue() and "loss [0.5]" in shown.getvalue()
