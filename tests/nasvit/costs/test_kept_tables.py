"""Cost tables that are kept in the user's cache folder, and the ends of the catalog's spaces that are shipped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import search_spaces
from nasvit.costs import ends, kept_tables, tables
from nasvit.costs.ends import CATALOG, costs_of_ends, usual_classes, write_catalog
from nasvit.costs.tables import cost_table
from predictors.cost import METRICS, CostTable
from search_spaces import Space

SMALL = """\
name: small
source: a test
image_channels: 1
resolution: [7, 8]
stem: {width: [4, 8], stride: 1}
stages:
  - {name: first, block: mbconv, width: [8, 16], depth: [1, 2], kernel_size: [3, 5], expand_ratio: 2, stride: 2}
head: {width: 16, expand_ratio: 2}
"""


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Space]:
    (tmp_path / "small.yaml").write_text(SMALL)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cost_table.cache_clear()
    yield search_spaces.load(tmp_path / "small.yaml")
    cost_table.cache_clear()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The blocks that are counted from now on."""
    found, count = list[object](), tables.count_block

    def counting(space: Space, block: object, classes: int) -> object:
        found.append(block)
        return count(space, block, classes)  # type: ignore[arg-type]

    monkeypatch.setattr(tables, "count_block", counting)
    return found


def again(space: Space, classes: int = 10) -> CostTable:
    """The table as the next process would get it."""
    cost_table.cache_clear()
    kept_tables._code.cache_clear()
    return cost_table(space, classes)


def equal(one: CostTable, other: CostTable) -> bool:
    pairs = list(zip(one.parts, other.parts, strict=True))
    return all(
        mine.columns == theirs.columns and np.array_equal(getattr(mine, name), getattr(theirs, name))
        for mine, theirs in pairs
        for name in METRICS
    )


def kept(folder: Path) -> Path:
    (path,) = (folder / "cache" / "nasvit").iterdir()
    return path


def test_a_table_is_counted_once_and_kept_to_the_integer(space: Space, counted: list[object]) -> None:
    first = cost_table(space, 10)
    assert counted
    counted.clear()
    second = again(space)
    assert not counted and second is not first and equal(first, second)
    population = space.genome.sample(50, np.random.default_rng(0))
    for name, values in first.costs(population).items():
        assert np.array_equal(values, second.costs(population)[name])


def test_other_classes_and_other_spaces_are_counted_anew(space: Space, counted: list[object], tmp_path: Path) -> None:
    cost_table(space, 10)
    counted.clear()
    assert not equal(again(space, 11), again(space, 10))
    assert counted
    counted.clear()
    (tmp_path / "other.yaml").write_text(SMALL.replace("stride: 1", "stride: 2"))
    again(search_spaces.load(tmp_path / "other.yaml"))
    assert counted


def test_a_table_that_other_code_counted_is_counted_anew_and_replaced(
    space: Space, counted: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cost_table(space, 10)
    before = kept(tmp_path).read_bytes()
    counted.clear()
    cost_table.cache_clear()
    monkeypatch.setattr(kept_tables, "_code", lambda: "other code")
    assert equal(cost_table(space, 10), first) and counted
    assert kept(tmp_path).read_bytes() != before


def test_the_code_that_counts_differs_where_a_file_of_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "nasvit" / "costs" / "kept_tables.py"
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setattr(kept_tables, "__file__", str(file))
    codes = set()
    for content in ("a = 1", "a = 2"):
        (tmp_path / "nasvit" / "layer.py").write_text(content)
        kept_tables._code.cache_clear()
        codes.add(kept_tables._code())
    kept_tables._code.cache_clear()
    assert len(codes) == 2


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def of_another_shape(path: Path) -> None:
    with np.load(path) as kept_arrays:
        arrays = dict(kept_arrays)
    np.savez(path, **arrays | {"macs_0": np.zeros((1, 1, 1), dtype=np.int64)})


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut off": cut,
    "a byte of it changed": flip,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no table"),
    "another shape": of_another_shape,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_means_counting_anew(
    damage: Callable[[Path], object], space: Space, counted: list[object], tmp_path: Path
) -> None:
    first = cost_table(space, 10)
    damage(kept(tmp_path))
    counted.clear()
    assert equal(again(space), first) and counted


def read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("os.replace", refused)  # the tests' user may write everywhere


def in_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "cache").write_text("a file where the folder should be")


def homeless(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", refused)


@pytest.mark.parametrize("spoil", [read_only, in_a_file, homeless])
def test_where_nothing_can_be_kept_every_table_is_counted(
    spoil: Callable[[Path, pytest.MonkeyPatch], None],
    space: Space,
    counted: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoil(tmp_path, monkeypatch)
    first = cost_table(space, 10)
    counted.clear()
    assert equal(again(space), first) and counted


def test_a_write_that_is_interrupted_leaves_nothing(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", killed)
    with pytest.raises(KeyboardInterrupt):
        cost_table(space, 10)
    assert not list((tmp_path / "cache" / "nasvit").iterdir())


def test_tables_of_blocks_from_elsewhere_are_not_kept(
    space: Space, counted: list[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tables.meta_block.__globals__["KINDS"]["mbconv"]
    monkeypatch.setitem(kept_tables.KINDS, "mbconv", replace(own, at=lambda *arguments: own.at(*arguments)))
    cost_table(space, 10)
    assert not (tmp_path / "cache").exists()


def test_the_file_of_the_catalog_holds_what_is_counted(tmp_path: Path) -> None:
    write_catalog(tmp_path / "catalog.json")
    assert json.loads((tmp_path / "catalog.json").read_text()) == json.loads(CATALOG.read_text()), (
        "a space or a count has changed: python -m nasvit.costs.ends"
    )


@pytest.mark.parametrize("name", ["micro8", "micro32", "ghost_micro32"])
def test_the_ends_of_a_space_cost_what_its_table_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    space, classes = search_spaces.load(name), usual_classes(name)
    costs = cost_table(space, classes).costs(space.encode([space.smallest, space.largest]))
    wanted = tuple({metric: int(values[end]) for metric, values in costs.items()} for end in (0, 1))
    assert costs_of_ends(space, classes) == wanted
    monkeypatch.setattr(ends, "read_json", lambda _: {})
    assert costs_of_ends(space, classes) == wanted


def test_the_convolution_twin_of_a_hybrid_space_costs_nearly_the_same() -> None:
    hybrid, twin = search_spaces.load("micro32"), search_spaces.load("micro32_conv")
    assert twin.transformer is None
    for ours, theirs in zip(hybrid.stages, twin.stages, strict=True):
        assert all(getattr(ours, same) == getattr(theirs, same) for same in ("width", "stride", "squeeze_excite"))
    for ours, theirs in zip(costs_of_ends(hybrid, 10), costs_of_ends(twin, 10), strict=True):
        assert theirs["macs"] == pytest.approx(ours["macs"], rel=0.03)
        assert theirs["params"] == pytest.approx(ours["params"], rel=0.1)


def test_the_ends_of_a_space_that_the_file_does_not_hold_are_counted(space: Space) -> None:
    costs = cost_table(space, 3).costs(space.encode([space.smallest, space.largest]))
    wanted = tuple({metric: int(values[end]) for metric, values in costs.items()} for end in (0, 1))
    assert costs_of_ends(space, 3) == wanted


def test_spaces_are_listed_without_importing_torch() -> None:
    code = "import sys; from nasvit.cli import spaces; spaces(); sys.exit('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert found.returncode == 0, found.stderr
    assert all(name in found.stdout for name in search_spaces.names())
