"""Files are there whole or not at all, and damage shows when they are read."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from nasvit.files.records import read_json, write_json, write_record
from nasvit.files.tensors import read_tensors, write_tensors
from nasvit.files.whole import CannotWriteError, remove_unfinished, unfinished_folder, whole, write_text

CONTENT = {"step": 7, "state": {"w": torch.arange(300.0), "names": ["a", None]}}
FULL = Path("/dev/full")  # every write to it fails as on a full disk


def of_safetensors(path: Path) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")  # its words


def to_torch(path: Path) -> None:
    with path.open("wb") as file:
        torch.save(CONTENT, file)


WAYS: dict[str, Callable[[Path], Any]] = {
    "text": lambda path: path.write_text("some text"),
    "torch": to_torch,
    "safetensors": of_safetensors,
}


@pytest.mark.skipif(not FULL.exists(), reason="no such device here")
@pytest.mark.parametrize("way", WAYS)
def test_a_full_disk_names_the_file_and_the_way_out_and_leaves_what_was_there(way: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.bin"
    write_text(path, "before")

    def write() -> None:
        with whole(path) as temporary:
            temporary.symlink_to(FULL)
            WAYS[way](temporary)

    said = r"file\.bin: No space left .* MiB are free .*run the same command again"
    with pytest.raises(CannotWriteError, match=said):
        write()
    assert [each.name for each in path.parent.iterdir()] == ["file.bin"]
    assert path.read_text() == "before"


def test_files_may_be_read_by_whom_this_users_files_may_be_read(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    with whole(tmp_path / "private") as temporary:
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))  # as safetensors writes its files
    assert (tmp_path / "private").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(CannotWriteError, match=r"cannot write .*taken/x\.json: "):
        write_json(tmp_path / "taken" / "x.json", {})


def test_writers_of_the_same_file_do_not_meet(tmp_path: Path) -> None:
    path, both = tmp_path / "x.txt", threading.Barrier(2)

    def write(text: str) -> None:
        with whole(path) as temporary:
            both.wait()
            temporary.write_text(text * 1000)

    threads = [threading.Thread(target=write, args=(text,)) for text in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in ("a" * 1000, "b" * 1000)
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_kill_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    with whole(tmp_path / "train" / "step-1.pt") as temporary:
        left = temporary.with_name(temporary.name.replace(f".{os.getpid()}-", f".{2**22 + 1}-"))
        left.write_text("half")
        temporary.write_text("whole")
    kept = [tmp_path / ".mine.tmp", tmp_path / "notes.tmp", tmp_path / "train" / "step-1.pt"]
    for path in kept[:2]:
        path.touch()
    remove_unfinished(tmp_path)
    assert not left.exists() and all(path.exists() for path in kept)


def test_folders_that_killed_writers_left_are_removed_by_the_next_one_and_those_of_living_ones_stay(
    tmp_path: Path,
) -> None:
    with unfinished_folder(tmp_path) as mine:
        left = mine.with_name(mine.name.replace(f".{os.getpid()}-", f".{2**22 + 1}-"))
        for folder in (mine, left):
            (folder / "inside").mkdir(parents=True)
        with unfinished_folder(tmp_path) as other:
            assert (mine / "inside").is_dir() and other not in (mine, left)
            assert not left.exists()
    assert not list(tmp_path.iterdir())


def test_any_flipped_bit_and_any_cut_of_a_file_of_tensors_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    write_tensors(path, CONTENT)
    assert torch.equal(read_tensors(path)["state"]["w"], CONTENT["state"]["w"])
    assert torch.equal(torch.load(path, weights_only=True)["state"]["w"], CONTENT["state"]["w"])  # for others too
    whole_file = path.read_bytes()
    rng = np.random.default_rng(0)
    bits = [*rng.integers(8 * len(whole_file), size=300), *range(8 * len(whole_file) - 8 * 80, 8 * len(whole_file), 5)]
    for bit in bits:
        damaged = bytearray(whole_file)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"x\.pt is damaged"):
            read_tensors(path)
    for length in (0, 10, len(whole_file) // 2, len(whole_file) - 78, len(whole_file) - 1):
        path.write_bytes(whole_file[:length])
        if length != len(whole_file) - 78:  # where the seal alone is missing the content is whole
            with pytest.raises(ValueError, match=r"x\.pt is damaged"):
                read_tensors(path)
    torch.save(CONTENT, path)  # as earlier versions wrote it
    assert read_tensors(path)["step"] == 7


@pytest.mark.parametrize("content", [{"b": [1, 2.5, None], "a": {"1": float("inf")}}, ["x", {"y": 1}], {}])
def test_a_record_comes_back_and_its_damage_is_named(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_record(path, content)
    assert read_json(path) == content
    text = path.read_text()
    for changed in (text.replace('"digest"', '"c": 1, "digest"'), text.replace("2.5", "2.4").replace("1", "3")):
        if changed != text:
            path.write_text(changed)
            with pytest.raises(ValueError, match=r"x\.json is damaged, or was changed by hand"):
                read_json(path)
    for broken in (text[:-5], "", "[" * 100_000, "\udcff"):
        path.write_bytes(broken.encode("utf-8", "surrogateescape"))
        with pytest.raises(ValueError, match=r"x\.json is no (JSON|text file)"):
            read_json(path)
