from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search_spaces import Architecture

FIELDS: dict[str, Any] = {
    "resolution": 32,
    "width": [8, 16, 24, 64],
    "depth": [1, 2],
    "kernel_size": [3, 5],
    "expand_ratio": [1, 4],
}


def test_equal_networks_are_equal_values_with_one_key() -> None:
    one = Architecture(**FIELDS)
    other = Architecture(**{**FIELDS, "expand_ratio": (1.0, np.int64(4)), "width": (8, 16, 24, 64)})
    assert one == other
    assert hash(one) == hash(other)
    assert one.key == other.key
    assert one.to_json() == other.to_json()


def test_the_key_changes_with_the_architecture_and_stays_the_same_between_runs() -> None:
    assert Architecture(**FIELDS).key == "f9a8690d8498aa28"
    assert Architecture(**FIELDS).key != Architecture(**{**FIELDS, "resolution": 24}).key


def test_json_leaves_empty_fields_out_and_reads_back_equal(tmp_path: Path) -> None:
    plain = Architecture(**FIELDS)
    assert plain.to_json() == (
        '{"resolution":32,"width":[8,16,24,64],"depth":[1,2],"kernel_size":[3,5],"expand_ratio":[1,4]}'
    )
    mixed = Architecture(**FIELDS, mlp_ratio=(None, 1.5), windows=(None, 2))
    for architecture in (plain, mixed):
        architecture.save(tmp_path / "a.json")
        assert Architecture.load(tmp_path / "a.json") == architecture


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": [8, 16, 24]}, r"width: has 3 entries; legal: 4"),
        ({"kernel_size": [3]}, r"kernel_size: has 1 entries; legal: 2"),
        ({"windows": [1]}, r"windows: has 1 entries; legal: 2"),
        ({"depth": 2}, r"depth: 2 is not a list"),
        ({"depth": [1, 2.5]}, r"depth\[1\]: 2.5 is illegal; legal: whole numbers from 1"),
        ({"depth": [True, 2]}, r"depth\[0\]: True is illegal"),
        ({"expand_ratio": [1, float("nan")]}, r"expand_ratio\[1\]: nan is illegal; legal: numbers above 0"),
        ({"expand_ratio": [1, 0]}, r"expand_ratio\[1\]: 0 is illegal; legal: numbers above 0"),
        ({"depth": [None, 2]}, r"depth\[0\]: None is illegal"),
        ({"resolution": "32"}, r"resolution: '32' is illegal; legal: whole numbers from 1 to 16384"),
        ({"hight": 3}, r"no field 'hight'; legal: resolution, width"),
    ],
)
def test_an_impossible_architecture_is_refused_in_words(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Architecture.from_fields({**FIELDS, **change})


def test_a_file_that_is_no_architecture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    for text, message in (
        ("[1]", "a mapping of fields"),
        ("{", "broken.json"),
        ('{"resolution": 32}', "needs the field 'width'"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=f"broken.json: .*{message}" if message != "broken.json" else message):
            Architecture.load(path)
