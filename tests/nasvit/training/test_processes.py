"""Several processes train to the weights that one trains to with the joined batch."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nasvit.training.metrics import read_metrics
from tests.nasvit.started import killed, run
from tests.nasvit.training.jointly import KINDS

RESUMED = ("resumed_network", "resumed_mixed", "resumed_dropped_subnets", "resumed_own_norms")
EQUAL = [name for name in KINDS if name not in ("own_norms", "collapsing", "long")]
BY_FOUR = ("project", "accumulated_norms")
USUAL = (*EQUAL, "own_norms", "collapsing")
ASKED = {1: USUAL, 2: (*USUAL, *RESUMED), 4: BY_FOUR}  # by number of processes


class Trained(dict[int, Path]):
    """The folders of the same trainings by one, two and four processes, made when first asked for."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory

    def __missing__(self, count: int) -> Path:
        self[count] = folder = self._factory.mktemp(f"by-{count}")
        done = run("tests.nasvit.training.jointly", str(folder), *ASKED[count], processes=count)
        assert done.status == 0, done.said
        (folder / "said").write_text(done.said)
        return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory)


def results(folder: Path, kind: str, count: int) -> list[dict[str, Any]]:
    return [torch.load(folder / kind / f"{rank}.pt", weights_only=True) for rank in range(count)]


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    difference = sum(float((one[name] - tensor).square().sum()) for name, tensor in other.items())
    return float((difference / sum(float(tensor.square().sum()) for tensor in other.values())) ** 0.5)


TRAININGS = [
    *((kind, 2) for kind in EQUAL),
    *(pytest.param(kind, 4, marks=pytest.mark.slow) for kind in BY_FOUR),
]


@pytest.mark.parametrize(("kind", "count"), TRAININGS)
def test_processes_train_to_the_weights_of_one_with_the_joined_batch(trained: Trained, kind: str, count: int) -> None:
    (alone,) = results(trained[1], kind, 1)
    first, *others = results(trained[count], kind, count)
    for what in ("weights", "trained"):
        for name, tensor in alone[what].items():
            torch.testing.assert_close(first[what][name], tensor, rtol=1e-9, atol=1e-11, msg=f"{kind}: {name}")
        for other in others:
            assert_same(other[what], first[what])


@pytest.mark.parametrize("kind", RESUMED)
def test_all_processes_go_on_from_the_checkpoint_that_the_first_one_sees(trained: Trained, kind: str) -> None:
    whole = results(trained[2], kind.removeprefix("resumed_"), 2)
    for found, wanted in zip(results(trained[2], kind, 2), whole, strict=True):
        assert_same(found["weights"], wanted["weights"])
        assert_same(found["trained"], wanted["trained"])


@pytest.mark.slow
def test_a_killed_process_ends_the_other_and_the_next_start_resumes_with_any_number_of_processes(
    tmp_path: Path,
) -> None:
    victim = random.randrange(2)
    words = ["tests.nasvit.training.jointly", str(tmp_path), "long"]
    log, lines = tmp_path / "long" / "run" / "metrics.jsonl", random.randint(1, 20)

    def reached() -> bool:
        return log.exists() and len(log.read_text().splitlines()) >= lines

    status, said = killed([words] * 2, victim, reached)[1 - victim]
    assert status != 0
    assert "StoppedElsewhere: a process ended or did not answer" in said
    assert len(log.read_text().splitlines()) < 32
    shutil.copytree(tmp_path, tmp_path / "alone")
    for again, count in ((tmp_path, 2), (tmp_path / "alone", 1), (tmp_path / "whole", 2)):
        done = run(words[0], str(again), "long", processes=count)
        assert done.status == 0, done.said
    wanted = results(tmp_path / "whole", "long", 2)[0]["weights"]
    assert_same(results(tmp_path, "long", 2)[0]["weights"], wanted)
    for name, tensor in results(tmp_path / "alone", "long", 1)[0]["weights"].items():
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-9, atol=1e-11, msg=name)


def test_batch_norms_of_their_own_see_the_part_of_their_process_and_end_with_the_statistics_of_the_first(
    trained: Trained,
) -> None:
    first, second = results(trained[2], "own_norms", 2)
    (alone,) = results(trained[1], "own_norms", 1)
    (joined,) = results(trained[1], "network", 1)
    assert_same(alone["weights"], joined["weights"])
    assert_same(second["weights"], first["weights"])
    assert 1e-4 < distance(first["weights"], alone["weights"]) < 0.2


def test_a_loss_that_is_no_number_in_one_process_sends_all_back_together(trained: Trained) -> None:
    first, second = results(trained[2], "collapsing", 2)
    assert first["rollbacks"] == second["rollbacks"] == 1
    assert_same(second["weights"], first["weights"])
    (alone,) = results(trained[1], "collapsing", 1)
    assert alone["rollbacks"] == 0
    logs = [read_metrics(trained[2] / "collapsing" / "run" / f"metrics{rank}.jsonl") for rank in ("", "-1")]
    events = [[record for record in log if "event" in record] for log in logs]
    assert [event["collapsed_at"] for event in events[0]] == [2]
    assert events[0] == events[1]


def test_a_collapse_is_told_once(trained: Trained) -> None:
    assert (trained[2] / "said").read_text().count("training collapsed at step 2") == 1
