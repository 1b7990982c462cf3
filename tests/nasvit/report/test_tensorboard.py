"""``nasvit tensorboard``: what the logs say, as TensorBoard reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest

from nasvit.report.tensorboard import Mirror, show_in_tensorboard
from nasvit.training.metrics import Metrics

accumulators: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    found = accumulators.EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in found.Scalars(name)]


def trained(folder: Path, steps: range) -> None:
    with Metrics(folder / "metrics.jsonl", resume_step=steps.start - 1) as metrics:
        for step in steps:
            metrics.append(step, {"loss": 1 / step, "note": "a word", "event": True})


def test_every_training_and_the_search_is_a_run_with_its_numbers(tmp_path: Path) -> None:
    trained(tmp_path / "train", range(1, 4))
    trained(tmp_path / "subnets" / "small" / "finetuned-training", range(1, 3))
    (tmp_path / "search").mkdir()
    lines = [json.dumps({"key": "a", "score": score, "costs": {"macs": 5}}) for score in (0.25, 0.5)]
    (tmp_path / "search" / "evaluations.jsonl").write_text("\n".join(lines) + '\n{"cut o')
    show_in_tensorboard(tmp_path, None, follow=False)
    out = tmp_path / "tensorboard"
    assert scalars(out / "train", "loss") == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert len(scalars(out / "subnets" / "small" / "finetuned-training", "loss")) == 2
    assert scalars(out / "search", "score") == [(1, 0.25), (2, 0.5)]
    assert scalars(out / "search", "costs/macs") == [(1, 5.0), (2, 5.0)]
    names = accumulators.EventAccumulator(str(out / "train")).Reload().Tags()["scalars"]
    assert names == ["loss"]
    show_in_tensorboard(tmp_path, None, follow=False)
    assert len(scalars(out / "train", "loss")) == 3  # anew, not twice


def test_events_of_others_stay(tmp_path: Path) -> None:
    trained(tmp_path / "run" / "train", range(1, 3))
    foreign = [tmp_path / "logs" / name / "events.out.tfevents.1.host" for name in (".", "other", "train/inner")]
    for file in foreign:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"theirs")
    show_in_tensorboard(tmp_path / "run", tmp_path / "logs", follow=False)
    assert all(file.read_bytes() == b"theirs" for file in foreign)


def test_a_search_that_is_under_way_is_read_from_its_study(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(storage=url, study_name="nasvit-x")
    for score in (0.25, 0.5):
        trial = study.ask()
        trial.set_user_attr("record", {"score": score})
        study.tell(trial, score)
    study.ask()
    show_in_tensorboard(tmp_path, None, follow=False)
    assert scalars(tmp_path / "tensorboard", "score") == [(1, 0.25), (2, 0.5)]


def test_what_comes_later_is_added(tmp_path: Path) -> None:
    trained(tmp_path / "train", range(1, 3))
    mirror = Mirror(tmp_path, tmp_path / "out")
    assert [mirror.look(), mirror.look()] == [2, 0]
    trained(tmp_path / "train", range(3, 6))
    assert mirror.look() == 3
    assert [step for step, _ in scalars(tmp_path / "out" / "train", "loss")] == [1, 2, 3, 4, 5]


def test_a_folder_without_numbers_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no numbers of a training or search yet; --follow waits"):
        show_in_tensorboard(tmp_path, None, follow=False)
    with pytest.raises(ValueError, match="there is no such folder"):
        show_in_tensorboard(tmp_path / "nowhere", None, follow=False)
