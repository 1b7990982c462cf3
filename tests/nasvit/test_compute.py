"""The device and the processes that everything is computed with; most claims are looked at by ``together.py``."""

from __future__ import annotations

import copy
import json
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from nasvit.compute import ALONE, Compute, find_device, free_main_memory, open_compute
from tests.nasvit.started import run
from tests.nasvit.together import SIZES

Seen = list[dict[str, Any]]


@pytest.fixture(scope="module", params=[2, 4])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What every process saw."""
    folder = tmp_path_factory.mktemp("together")
    done = run("tests.nasvit.together", str(folder), processes=request.param)
    assert done.status == 0, done.said
    return [json.loads((folder / f"seen-{rank}.json").read_text()) for rank in range(request.param)]


def test_each_process_has_a_number_and_the_first_shows(seen: Seen) -> None:
    assert [each["rank"] for each in seen] == list(range(len(seen)))
    assert [each["is_first"] for each in seen] == [each["shows"] for each in seen] == [True] + [False] * (len(seen) - 1)
    assert {each["text"] for each in seen} == {f"cpu, {len(seen)} processes"}
    assert [each["alone"] for each in seen] == [[1, 0, each["shows"]] for each in seen]


def test_the_parts_of_a_batch_cover_it_and_keep_mirrored_places_together(seen: Seen) -> None:
    for size in map(str, SIZES):
        parts = [each["parts"][size] for each in seen]
        whole = 2 * len(seen) * int(size)
        assert sorted(place for part in parts for place in part) == list(range(whole))
        assert all([whole - 1 - place for place in reversed(part)] == part for part in parts)


def test_part_of_a_tensor_is_what_part_of_a_batch_says_and_parts_of_odd_size_cover_it_too(seen: Seen) -> None:
    for size in SIZES:
        taken = [each["taken"][str(size)] for each in seen]
        assert sorted(row for part in taken for row in part) == list(range(len(seen) * size))
        assert {len(part) for part in taken} == {size}
        if size % 2 == 0:
            assert taken == [each["parts"][str(size // 2)] for each in seen]


def test_a_batch_that_cannot_be_shared_is_refused_with_the_way_out(seen: Seen) -> None:
    batch, multiple = 2 * len(seen) + 2, 2 * len(seen)
    wanted = f"ValueError: batch_size {batch}: mixing images or {len(seen)} processes need a multiple of {multiple}"
    assert {each["refused"] for each in seen} == {wanted}


def test_tensors_are_summed_averaged_stacked_and_copied_over_all_processes(seen: Seen) -> None:
    ranks = [float(rank) for rank in range(len(seen))]
    for each in seen:
        assert each["sum"] == [len(seen), sum(ranks)]
        assert each["mean"] == [1.0, sum(ranks) / len(ranks)]
        assert each["stack"] == [[[rank, 7.0]] for rank in ranks]
        assert each["copied"] == [5, 5, 5]


def test_what_the_first_process_finds_reaches_all_also_if_it_is_large(seen: Seen) -> None:
    assert all(each["from_first"] == [0, "told"] for each in seen)
    assert all(each["big"] == 5_000_000 for each in seen)
    assert [each["once"] for each in seen] == [[0]] + [[]] * (len(seen) - 1)


def test_what_the_first_process_fails_with_stops_the_others_with_its_words(seen: Seen) -> None:
    first, *others = (each["failure"] for each in seen)
    assert first == "ValueError: the teacher has no name"
    assert set(others) == {"StoppedElsewhere: ValueError: the teacher has no name"}


def test_a_result_that_cannot_be_sent_stops_all_processes_at_once(seen: Seen) -> None:
    first, *others = (each["without_words"] for each in seen)
    assert "lambda" in first
    assert set(others) == {f"StoppedElsewhere: {first}"}


def test_after_failures_processes_still_talk_in_step(seen: Seen) -> None:
    assert all(each["gather"] == each["in_step"] == list(range(len(seen))) for each in seen)


def test_jobs_are_done_once_by_one_process_or_together_by_all(seen: Seen) -> None:
    count = len(seen)
    for odd, number in ((-1, 0), (0, 1), (1, 2)):
        done = [each["jobs"][number] for each in seen]
        own = sorted(job for jobs in done for job, doers, _ in jobs if doers == 1)
        joined = [[job for job, doers, _ in jobs if doers == count] for jobs in done]
        assert own == (list(range(count)) if odd >= 0 else [])
        assert joined == [list(range(count - 1)) if odd < 0 else [count] * odd] * count
        assert all(rank == process for process, jobs in enumerate(done) for _, doers, rank in jobs if doers == count)


def test_jobs_that_cannot_be_joined_are_done_by_one_process_each(seen: Seen) -> None:
    done = [job for each in seen for job, doers, _ in each["separate"] if doers == 1]
    assert sorted(done) == list(range(2 * len(seen) + 1))


def test_a_folder_that_all_see_is_accepted_and_left_as_it_was(seen: Seen) -> None:
    assert {each["one_folder"] for each in seen} == {""}
    assert all(each["left_in_folder"] == [] for each in seen)


def test_a_folder_that_some_processes_do_not_see_is_refused(seen: Seen) -> None:
    first, *others = (each["other_folders"] for each in seen)
    assert first.startswith("ValueError") and "own-0: process 1 on" in first
    assert first.endswith("give --output a folder that all machines share")
    assert set(others) == {f"StoppedElsewhere: {first}"}


@pytest.mark.parametrize("seen", [2], indirect=True)
def test_processes_wait_for_a_busy_one_without_the_limit_that_a_step_has(seen: Seen) -> None:
    assert [each["from_first_is_patient"] for each in seen] == ["done", "done"]
    assert [each["wait_is_patient"] for each in seen] == ["", ""]
    assert "StoppedElsewhere: a process ended or did not answer" in seen[1]["step_is_not"]


def test_a_process_that_ends_without_a_word_ends_the_wait_of_the_others(seen: Seen) -> None:
    assert all("StoppedElsewhere: a process ended or did not answer" in each["left_alone"] for each in seen[:-1])


def test_one_process_needs_no_others() -> None:
    assert ALONE.gather(3) == [3]
    assert ALONE.from_first(lambda: "mine") == "mine"
    assert list(ALONE.share_out("ab", lambda job: False)) == [("a", ALONE), ("b", ALONE)]
    assert torch.equal(ALONE.take_part(torch.arange(3)), torch.arange(3))
    assert ALONE.part_of(3).tolist() == [0, 1, 2]
    assert str(ALONE) == "cpu"
    assert copy.deepcopy(ALONE) is ALONE


def pretend(monkeypatch: pytest.MonkeyPatch, kind: str | None, count: int = 1) -> None:
    """Let torch say that there are so many devices."""
    found = None if kind is None else torch.device(kind)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: found is not None)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_: found)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("kind", "name", "local_rank", "found"),
    [
        (None, "auto", 1, "cpu"),
        ("cuda", "auto", 0, "cuda:0"),
        ("cuda", "auto", 1, "cuda:1"),
        ("cuda", "cuda", 1, "cuda:1"),
        ("cuda", "cuda:1", 0, "cuda:1"),
        ("cuda", "cpu", 1, "cpu"),
        ("xpu", "auto", 1, "xpu:1"),
        ("mps", "auto", 0, "mps"),
        ("mps", "mps:0", 0, "mps"),
    ],
)
def test_a_name_is_a_device_and_each_process_has_its_own(
    monkeypatch: pytest.MonkeyPatch, kind: str | None, name: str, local_rank: int, found: str
) -> None:
    pretend(monkeypatch, kind, 1 if kind == "mps" else 2)
    assert find_device(name, local_rank) == torch.device(found)


@pytest.mark.parametrize(
    ("kind", "name", "local_rank", "message"),
    [
        (None, "cuda", 0, "device 'cuda': there is none; here are auto, cpu"),
        ("cuda", "mps", 0, "device 'mps': there is none; here are auto, cpu, cuda:0, cuda:1"),
        ("cuda", "cuda:2", 0, "device 'cuda:2': there is none; here are auto, cpu, cuda:0, cuda:1"),
        ("cuda", "cuda:x", 0, "device 'cuda:x': there is none"),
        ("cuda", "gpu", 0, "device 'gpu': there is none"),
        ("cuda", "cuda", 2, "device 'cuda': there is none for process 3 of this machine; start fewer"),
        ("cuda", "auto", 2, "there is none for process 3 of this machine; start fewer"),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch, kind: str | None, name: str, local_rank: int, message: str
) -> None:
    pretend(monkeypatch, kind, 2)
    with pytest.raises(ValueError, match=re.escape(message)):
        find_device(name, local_rank)


@pytest.mark.parametrize(
    ("kind", "device", "local_rank", "message"),
    [
        ("cuda", "auto", 2, "for process 3 of this machine; start fewer"),
        ("mps", "auto", 0, "several processes cannot share work on mps; start one, or use cpu"),
        ("cuda", "cuda:1", 0, "device cuda:1: 4 processes need one each; give cuda"),
    ],
)
def test_processes_without_a_device_each_are_refused(
    monkeypatch: pytest.MonkeyPatch, kind: str, device: str, local_rank: int, message: str
) -> None:
    pretend(monkeypatch, kind, 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", str(local_rank))
    with pytest.raises(ValueError, match=message), open_compute(device):
        pass


def test_one_process_opens_its_device_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with open_compute("cpu") as compute:
        assert compute == Compute()


HELD = """
import resource, torch
from nasvit.compute import ALONE

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(40 * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = faults()
ALONE.hold_memory()
print(given_back, min(faults() for _ in range(6)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators keep what is free by themselves")
def test_memory_of_large_tensors_is_kept_for_the_next_ones() -> None:
    told = subprocess.run([sys.executable, "-c", HELD], check=True, capture_output=True, text=True).stdout
    given_back, held = map(int, told.split())
    assert given_back > 4 * 40 * 2**20 / 2**21  # pages, which may be as large as 2 MiB
    assert held < given_back / 10


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (("memory.max", "memory.current", "memory.stat"), "inactive_file"),
        (("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"), "total_inactive_file"),
    ],
)
def test_what_is_free_is_no_more_than_a_container_may_have(
    names: tuple[str, str, str], files: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = free_main_memory(tmp_path)  # no limit is there
    for name, told in zip(names, ("1000000\n", "700000\n", f"anon 5\n{files} 200000\n"), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(told, encoding="ascii")
    assert free_main_memory(tmp_path) == 500_000  # files that are kept can be had back
    (tmp_path / names[0]).write_text(f"{2**62}\n", encoding="ascii")
    assert whole is None or free_main_memory(tmp_path) == pytest.approx(whole, rel=0.2)
    monkeypatch.setattr("nasvit.compute.free_main_memory", lambda: 500_000)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert (ALONE.free_memory(), Compute(count=2).free_memory()) == (500_000, 250_000)
