"""A short form of the chaos: some spoiled inputs, and a training that is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.benchmarks.chaos import kills
from experiments.benchmarks.chaos.outcomes import ACCEPTED, REFUSED, TRACEBACK
from experiments.benchmarks.chaos.targets import TARGETS, Target
from experiments.benchmarks.chaos.trying import Case, attempt, make_case

QUICK = ("experiment", "fit", "space", "recipe space", "latency table", "architecture")


def test_spoiled_inputs_are_refused_in_words_or_accepted(tmp_path: Path) -> None:
    cases = [case for case in (make_case(5, number) for number in range(60)) if case.target in QUICK]
    outcomes = [attempt(case, tmp_path / "a") for case in cases]
    assert {each.how for each in outcomes} == {REFUSED, ACCEPTED}, [each for each in outcomes if each.how == TRACEBACK]
    assert make_case(5, 3) == make_case(5, 3)


def test_a_reader_that_ends_in_a_traceback_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "space", Target(lambda: [{}], lambda content: content.decode("ascii")))
    outcome = attempt(Case("space", {}, b"\xff"), tmp_path / "a")
    assert outcome.how == TRACEBACK and "UnicodeDecodeError" in outcome.place


def test_a_training_that_is_killed_ends_as_if_it_had_not_been(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kills, "JOBS", {"fit": kills.JOBS["fit"]})
    monkeypatch.setattr(kills.saved, "export_program", kills.saved.export_program)  # which the rounds replace
    figures = kills.torture(rounds=2, kills=3)
    assert (figures["identical"], figures["failures"]) == (2, []) and figures["kills"] >= 2
    with monkeypatch.context() as patch:
        patch.setattr(kills, "left_by", lambda folder: {"names": [folder.name]})
        assert kills.torture(rounds=1, kills=1)["failures"][0]["outcome"] == "ended otherwise: killed, whole"
