from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces.files import read_json

WRONG = {
    "half of it": ('{"a": 1', r"x\.json is no JSON: Expecting"),
    "a key twice": ('{"a": {"b": 1, "c": 2, "b": 3}}', r"x\.json is no JSON: the key 'b' stands there twice"),
    "lists of lists": ("[" * 100_000, r"x\.json is no JSON: maximum recursion"),
    "a number without end": ("1" * 10_000, r"x\.json is no JSON: Exceeds the limit"),
    "no text": ("\udcff", r"x\.json is no text file: its byte 0 is no UTF-8"),
}


@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=WRONG)
def test_what_is_no_json_is_said_with_its_name(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=words):
        read_json(tmp_path / "x.json")


def test_a_folder_and_a_file_that_is_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder; a file is needed"):
        read_json(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*x\.json"):
        read_json(tmp_path / "x.json")
