"""Checkpoints: atomic, plain content, falling back."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from nasvit.training.checkpoint import Checkpoints


def state_at(step: int) -> dict[str, object]:
    return {"weights": {"w": torch.full((3,), float(step))}, "epoch": step, "names": ["a", None], "rates": (0.1, True)}


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def test_the_last_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "run")
    for step in (10, 20, 100):
        kept.save(step, state_at(step))
    last = Checkpoints(tmp_path / "run").load_last()
    assert last is not None and last.step == 100
    assert torch.equal(last.state.pop("weights")["w"], torch.full((3,), 100.0))
    assert last.state == {"epoch": 100, "names": ["a", None], "rates": (0.1, True)}


def test_without_any_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path).load_last() is None
    assert Checkpoints(tmp_path).load_good(5) is None


def test_the_last_ones_and_the_last_good_ones_are_kept(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    for step in range(1, 9):
        kept.save(step, state_at(step), good=step % 2 == 0)
    names = ["good-000000006.pt", "good-000000008.pt", "step-000000005.pt", "step-000000007.pt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for until, wanted in ((9, 8), (7, 6), (6, 6), (5, 6)):
        good = kept.load_good(until)
        assert good is not None and good.step == good.state["epoch"] == wanted


def test_a_spoiled_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(1, state_at(1))
    spoil(kept.save(2, state_at(2), good=False))
    with pytest.warns(UserWarning, match=r"step-000000002\.pt cannot be read .* falling back"):
        last = kept.load_last()
    assert last is not None and last.step == 1


def test_an_empty_file_is_a_spoiled_checkpoint(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(1, state_at(1))
    (tmp_path / "step-000000002.pt").write_bytes(b"")
    with pytest.warns(UserWarning, match="falling back"):
        last = kept.load_last()
    assert last is not None and last.step == 1


def test_the_good_checkpoint_is_the_last_resort(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    for step, good in ((1, True), (2, False), (3, False)):
        kept.save(step, state_at(step), good=good)
    for step in (2, 3):
        spoil(tmp_path / f"step-{step:09d}.pt")
    with pytest.warns(UserWarning, match="cannot be read"):
        last = kept.load_last()
    assert last is not None and last.step == 1


def test_when_none_can_be_read_the_error_says_what_to_do(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    spoil(kept.save(1, state_at(1), good=False))
    with (
        pytest.warns(UserWarning, match="cannot be read"),
        pytest.raises(ValueError, match="remove the folder to start from the beginning"),
    ):
        kept.load_last()


@pytest.mark.parametrize("moment", ["torch_save", "replace"])
def test_a_kill_while_writing_leaves_the_checkpoints_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(1, state_at(1))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(*((torch, "save") if moment == "torch_save" else (os, "replace")), killed)
    with pytest.raises(KeyboardInterrupt):
        kept.save(2, state_at(2))
    monkeypatch.undo()
    last = Checkpoints(tmp_path).load_last()
    assert last is not None and last.step == 1
    kept.save(3, state_at(3))
    assert kept.load_last().step == 3  # type: ignore[union-attr]


def test_going_back_removes_the_later_checkpoints(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=3)
    for step in (1, 2, 3):
        kept.save(step, state_at(step))
        kept.save(step, state_at(step), good=True)
    kept.forget_from(2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "good-000000001.pt",
        "good-000000002.pt",
        "step-000000001.pt",
    ]


@pytest.mark.parametrize("value", [Path("x"), np.float64(1.0), np.zeros(2), object(), {1, 2}])
def test_content_that_could_run_code_is_refused_with_its_place(tmp_path: Path, value: object) -> None:
    with pytest.raises(ValueError, match=r"\['a'\]\[1\] is a"):
        Checkpoints(tmp_path).save(1, {"a": [0, value]})
    assert list(tmp_path.iterdir()) == []


def test_one_kept_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        Checkpoints(tmp_path, keep=1)
