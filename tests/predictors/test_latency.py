"""Latency tables: exact sums over blocks, and refusals of what was not measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import search_spaces
from predictors.blocks import fingerprint, unique_blocks
from predictors.latency import FORMAT, load_table, space_table
from predictors.limits import Limit, feasible
from search_spaces import Architecture, Space

SPACES = ["micro8", "micro32", "nasvit", "alphanet"]


def names_by_hand(space: Space, architecture: Architecture) -> Iterator[str]:
    """The blocks of one subnet, walked through one after the other."""
    side, width = architecture.resolution, architecture.width
    stem = space.stem
    yield f"stem {space.image_channels}-{width[0]} side {side} stride {stem.stride} kernel {stem.kernel_size}"
    side = -(-side // stem.stride)
    for number, stage in enumerate(space.stages):
        channels, stride = width[number], stage.stride
        for position in range(architecture.depth[number]):
            if position and stage.hybrid:
                mlp, windows = architecture.mlp_ratio[number], architecture.windows[number]
                start = f"transformer {channels}-{channels} side {side} stride 1"
                yield f"{start} mlp {mlp} windows {windows}"
                continue
            kernel, expand = architecture.kernel_size[number], architecture.expand_ratio[number]
            gated = " gated" if stage.squeeze_excite else ""
            start = f"mbconv {channels}-{width[number + 1]} side {side} stride {stride}"
            yield f"{start} kernel {kernel} expand {expand}{gated}"
            channels, side, stride = width[number + 1], -(-side // stride), 1
    expand = space.head.expand_ratio
    yield f"head {width[-2]}-{width[-1]} side {side} stride 1 expand {expand}"


def milliseconds(space: Space) -> dict[str, float]:
    """A different whole number for every block."""
    return {block.name: float(2 + 3 * number) for number, block in enumerate(unique_blocks(space))}


@pytest.mark.parametrize("name", SPACES)
def test_the_latency_of_a_subnet_is_exactly_the_sum_of_its_blocks(name: str) -> None:
    space = search_spaces.load(name)
    known = milliseconds(space)
    population = space.genome.sample(200, np.random.default_rng(0))
    subnets = [*space.decode(population), space.smallest, space.largest]
    by_hand = [sum(known[block] for block in names_by_hand(space, subnet)) for subnet in subnets]
    assert space_table(space, known).latency(space.encode(subnets)).tolist() == by_hand


@pytest.mark.parametrize("name", SPACES)
def test_every_listed_block_is_in_some_subnet_and_has_a_name_of_its_own(name: str) -> None:
    space = search_spaces.load(name)
    listed = [block.name for block in unique_blocks(space)]
    subnets = space.decode(space.genome.sample(4000, np.random.default_rng(0)))
    met = {block for subnet in subnets for block in names_by_hand(space, subnet)}
    assert len(set(listed)) == len(listed)
    assert met <= set(listed)
    assert len(met) > 0.95 * len(listed)  # the rest is rare, not impossible


def test_genes_that_do_not_count_change_nothing() -> None:
    space = search_spaces.load("micro8")
    table = space_table(space, milliseconds(space))
    rng = np.random.default_rng(0)
    rows = rng.integers(0, space.genome.cards, (500, len(space.genome))).astype(np.uint8)
    assert not np.array_equal(rows, space.canonical(rows))
    assert np.array_equal(table.latency(rows), table.latency(space.canonical(rows)))


def test_a_large_population_is_looked_up_as_its_parts_are() -> None:
    space = search_spaces.load("micro8")
    table = space_table(space, milliseconds(space), scale=2.0, offset=1.0)
    rows = space.genome.sample(40_000, np.random.default_rng(0))
    parts = [table.latency(part) for part in np.array_split(rows, 7)]
    assert np.array_equal(table.latency(rows), np.concatenate(parts))
    assert table.latency(rows[:0]).shape == (0,)


def test_scale_and_offset_correct_the_sum() -> None:
    space = search_spaces.load("micro8")
    known, rows = milliseconds(space), space.genome.sample(5, np.random.default_rng(0))
    plain, corrected = space_table(space, known), space_table(space, known, scale=2.0, offset=-0.5)
    assert np.array_equal(corrected.latency(rows), 2 * plain.latency(rows) - 0.5)
    assert np.array_equal(corrected.total(rows), plain.latency(rows))


def test_a_limit_on_latency_holds_in_milliseconds() -> None:
    space = search_spaces.load("micro8")
    table = space_table(space, milliseconds(space))
    costs = {"latency": table.latency(space.genome.sample(300, np.random.default_rng(0)))}
    middle = float(np.median(costs["latency"]))
    for text in (f"latency<={middle}ms", f"latency<={middle / 1e3}s", f"latency<={middle * 1e3} us"):
        assert np.array_equal(feasible(costs, [Limit.parse(text)]), costs["latency"] <= middle)
    assert str(Limit.parse("latency<=500us")) == "latency<=0.5ms"


def test_a_block_that_was_not_measured_is_named() -> None:
    space = search_spaces.load("micro8")
    known = milliseconds(space)
    del known["stem 1-8 side 8 stride 1 kernel 3"]
    with pytest.raises(ValueError, match="no latency was measured for the block 'stem 1-8 side 8"):
        space_table(space, known)


def test_a_population_of_another_width_is_refused() -> None:
    space = search_spaces.load("micro8")
    with pytest.raises(ValueError, match=r"shape \(n, 15\) is needed, got \(2, 3\)"):
        space_table(space, milliseconds(space)).latency(np.zeros((2, 3), dtype=np.uint8))


def write_table(path: Path, space: Space) -> Path:
    record = {
        "latency_table": FORMAT,
        "space": {"name": space.name, "fingerprint": fingerprint(space)},
        "correction": {"scale": 2.0, "offset": 0.25},
        "blocks": {name: {"milliseconds": number} for name, number in milliseconds(space).items()},
    }
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


def test_a_table_is_read_back_from_its_file(tmp_path: Path) -> None:
    space = search_spaces.load("micro8")
    table = load_table(write_table(tmp_path / "table.json", space), space)
    made = space_table(space, milliseconds(space), scale=2.0, offset=0.25)
    rows = space.genome.sample(50, np.random.default_rng(0))
    assert np.array_equal(table.latency(rows), made.latency(rows))
    assert table.record["space"]["name"] == "micro8"


def test_a_table_of_another_space_is_refused_with_both_names(tmp_path: Path) -> None:
    path = write_table(tmp_path / "table.json", search_spaces.load("micro8"))
    with pytest.raises(ValueError, match=r"measured for space 'micro8' .*not for 'micro32'.*nasvit latency build"):
        load_table(path, search_spaces.load("micro32"))


def test_a_space_that_changed_under_its_name_is_refused_and_a_renamed_one_is_not(tmp_path: Path) -> None:
    space = search_spaces.load("micro8")
    path = write_table(tmp_path / "table.json", space)
    load_table(path, replace(space, name="mine", source="me"))
    with pytest.raises(ValueError, match="measured for space 'micro8'"):
        load_table(path, replace(space, activation="relu"))


@pytest.mark.parametrize("content", ["{", "[]", '{"latency_table": 0}', '{"blocks": {}}'])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"table\.json is no(t a latency table| JSON)"):
        load_table(path, search_spaces.load("micro8"))
