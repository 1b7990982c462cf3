from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search_spaces import Architecture, Head, MBConvOptions, Space, Stage, Stem, TransformerOptions, load, names
from search_spaces.reading import from_node, read_text

YAML = """\
name: small
source: this test
resolution: [16, 32]
stem: {width: 8, stride: 1}
stages:
  - name: conv
    block: mbconv
    width: [8, 16]
    depth: [1, 2]
    kernel_size: [3, 5]
    expand_ratio: 1
    stride: 2
  - name: mix
    block: hybrid
    width: [16, 24]
    depth: [1, 2, 3]
    kernel_size: 3
    expand_ratio: [3, 4.5]
    stride: 2
    squeeze_excite: true
    mlp_ratio: [1, 2]
    windows: [1, 2]
head: {width: 64, expand_ratio: 2}
transformer: {head_dim: 8}
"""
SPACE = from_node(Space, read_text(YAML, "small.yaml"))
ARCHITECTURE = Architecture(16, (8, 16, 24, 64), (1, 3), (3, 3), (1, 4.5), (None, 2), (None, 1))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_genome_lists_the_decisions_in_a_fixed_order() -> None:
    assert SPACE.genome.names == (
        "resolution", "width.conv", "width.mix", "depth.conv", "depth.mix", "kernel_size.conv", "expand_ratio.mix",
        "mlp_ratio.mix", "windows.mix",
    )  # fmt: skip
    assert SPACE.size == 2 * 2 * 2 * 2 * (1 + 4 + 4) * 2 * 2


def test_every_architecture_of_a_small_space_is_a_different_row_and_a_different_key() -> None:
    cards = SPACE.genome.cards
    grid = np.stack(np.unravel_index(np.arange(cards.prod()), cards), axis=1).astype(np.uint8)
    rows = np.unique(SPACE.canonical(grid), axis=0)
    architectures = SPACE.decode(rows)
    assert len(rows) == SPACE.size
    assert len({a.key for a in architectures}) == len(set(architectures)) == SPACE.size
    np.testing.assert_array_equal(SPACE.encode(architectures), rows)


def test_inactive_genes_do_not_reach_the_architecture() -> None:
    row = np.array([[0, 0, 0, 0, 0, 0, 0, 1, 1]], np.uint8)
    architecture = SPACE.decode(row)[0]
    assert architecture.mlp_ratio == architecture.windows == (None, None)
    np.testing.assert_array_equal(SPACE.encode([architecture]), np.zeros((1, 9), np.uint8))


def test_smallest_has_the_most_windows_and_largest_the_fewest() -> None:
    nasvit = load("nasvit")
    assert nasvit.smallest.windows == (None, None, None, 2, 1, 1, 1)
    assert nasvit.largest.windows == (None, None, None, 1, 1, 1, 1)
    assert SPACE.smallest == Architecture(16, (8, 8, 16, 64), (1, 1), (3, 3), (1, 3), (None, None), (None, None))
    assert SPACE.largest == Architecture(32, (8, 16, 24, 64), (2, 3), (5, 3), (1, 4.5), (None, 2), (None, 1))


def test_the_first_block_of_a_stage_may_be_sized_apart_from_the_others() -> None:
    apart = YAML.replace("    depth: [1, 2]\n", "    depth: [1, 2]\n    first_expand_ratio: [2, 4]\n")
    space = from_node(Space, read_text(apart.replace("expand_ratio: 1\n", "expand_ratio: [1, 3]\n"), "small.yaml"))
    assert {"first_expand_ratio.conv", "expand_ratio.conv"} <= {*space.genome.names}
    assert space.size == SPACE.size // 2 * 2 * (1 + 2)
    assert [space.smallest.first_expand_ratio, space.smallest.expand_ratio] == [(2, None), (None, 3)]
    assert [space.largest.first_expand_ratio, space.largest.expand_ratio] == [(4, None), (3, 4.5)]
    for architecture in space.decode(space.genome.sample(20, rng())):
        assert (architecture.expand_ratio[0] is None) == (architecture.depth[0] == 1)
        assert space.decode(space.encode([architecture])) == [Architecture.from_json(architecture.to_json())]
        assert space.restrict(architecture).largest == architecture
    assert space.cut({"first_expand_ratio.conv": (4,)}).smallest.first_expand_ratio == (4, None)


def test_feature_sizes_halve_and_round_up() -> None:
    assert SPACE.feature_sizes(16) == (16, 8, 4)
    assert load("nasvit").feature_sizes(224) == (112, 112, 56, 28, 14, 7, 7, 4)


def test_a_trimmed_stage_makes_smaller_maps_and_leaves_something_of_them() -> None:
    stage = replace(SPACE.stages[0], trim=1)
    options = MBConvOptions(shortcut="identity")
    space = replace(SPACE, stages=(stage,), mbconv=options, transformer=None)
    assert [space.feature_sizes(side)[1] for side in (8, 15, 16, 17)] == [3, 7, 7, 8]
    with pytest.raises(ValueError, match="trim: leaves nothing of the map at the least resolution"):
        replace(space, resolution=(2, 16))
    with pytest.raises(ValueError, match="trim: belongs to stages that begin with an MBConv of stride 2"):
        replace(stage, stride=1)


def test_a_restricted_space_holds_exactly_one_architecture() -> None:
    for seed in range(20):
        architecture = SPACE.sample(rng(seed))
        only = SPACE.restrict(architecture)
        assert only.size == 1
        assert only.smallest == only.largest == only.sample(rng()) == architecture
        assert only.encode([architecture]).shape == (1, 0)


def test_a_cut_space_holds_the_architectures_that_have_the_choices_left_and_no_others() -> None:
    left = {
        "resolution": (32,),
        "depth.mix": (1, 3),
        "expand_ratio.mix": (4.5,),
        "windows.mix": [2],
        "width.head": (64,),
    }
    cut = SPACE.cut(left)
    assert [cut.resolution, cut.stages[1].depth, cut.stages[1].windows] == [(32,), (1, 3), (2,)]
    assert cut.stages[0] == SPACE.stages[0]

    def is_left(architecture: Architecture) -> bool:
        fields = (architecture.resolution, architecture.depth[1], architecture.expand_ratio[1], architecture.windows[1])
        return fields in ((32, 1, 4.5, None), (32, 3, 4.5, 2))

    cards = SPACE.genome.cards
    grid = np.stack(np.unravel_index(np.arange(cards.prod()), cards), axis=1).astype(np.uint8)
    for architecture in SPACE.decode(np.unique(SPACE.canonical(grid), axis=0)):
        if is_left(architecture):
            cut.check(architecture)
        else:
            with pytest.raises(ValueError, match="space 'small' holds"):
                cut.check(architecture)
    assert SPACE.cut({}) == SPACE


@pytest.mark.parametrize(
    ("left", "message"),
    [
        ({"depth.nix": (1,)}, r"'depth.nix' is no decision of space 'small'; legal: resolution, .*depth.mix"),
        ({"depth.mix": (4,)}, r"the choices 4 of 'depth.mix' are illegal; legal: some of 1, 2, 3"),
        ({"depth.mix": ()}, r"of 'depth.mix' are illegal"),
    ],
)
def test_a_cut_that_the_space_does_not_have_is_refused_in_words(left: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SPACE.cut(left)


def test_fields_without_a_choice_may_be_left_out() -> None:
    given = {"resolution": 16, "width": [8, 16, 24, 64], "depth": [1, 1], "kernel_size": [3, 3], "expand_ratio": [1, 3]}
    assert SPACE.architecture(given).windows == (None, None)
    assert SPACE.architecture(given, depth=[1, 3], mlp_ratio=[None, 2], windows=[None, 1]).depth == (1, 3)
    with pytest.raises(ValueError, match="field 'mlp_ratio' is missing and not decided by space 'small': 1, 2"):
        SPACE.architecture(given, depth=[1, 3])
    only = SPACE.restrict(ARCHITECTURE)
    assert only.architecture() == ARCHITECTURE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": (8, 16, 20, 64)}, r"width\[2\] \(mix\) is 20; space 'small' holds: 16, 24"),
        ({"resolution": 24}, r"resolution is 24; space 'small' holds: 16, 32"),
        ({"depth": (1, 4)}, r"depth\[1\] \(mix\) is 4; space 'small' holds: 1, 2, 3"),
        ({"depth": (1, 1)}, r"mlp_ratio\[1\] \(mix\) is 2; space 'small' holds: None"),
        ({"windows": (None, None)}, r"windows\[1\] \(mix\) is None; space 'small' holds: 1, 2"),
        ({"windows": (1, 1)}, r"windows\[0\] \(conv\) is 1; space 'small' holds: None"),
        ({"mlp_ratio": ()}, r"mlp_ratio has 0 entries; space 'small' holds: 2 entries"),
    ],
)
def test_an_architecture_the_space_does_not_hold_is_refused_in_words(change: dict[str, Any], message: str) -> None:
    wrong = replace(ARCHITECTURE, **change)
    for refuse in (SPACE.check, SPACE.restrict, lambda a: SPACE.encode([ARCHITECTURE, a])):
        with pytest.raises(ValueError, match=message):
            refuse(wrong)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hight": 3}, "no field 'hight'"),
        ({"depth": [1]}, "depth has 1 entries; space 'small' holds: 2 entries"),
        ({"depth": 3}, "depth: 3 is not a list"),
        ({}, "field 'depth' is missing and not decided"),
    ],
)
def test_fields_that_make_no_architecture_are_refused_in_words(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SPACE.architecture(given)


def test_a_foreign_population_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8 matrix"):
        SPACE.decode(np.zeros((2, 3), np.uint8))
    assert SPACE.decode(np.zeros((0, 9), np.uint8)) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("depth: [1, 2, 3]", "depth: [0, 1]", r"small\.yaml:16: stages\[1\]\.depth\[0\]: 0 is illegal; legal: whole numbers from 1"),
        ("depth: [1, 2]", "depths: [1, 2]", r"small\.yaml:9: stages\[0\]\.depths: unknown key; did you mean 'depth'"),
        ("    depth: [1, 2]\n", "", r"small\.yaml:6: stages\[0\]: the key 'depth' is missing"),
        ("kernel_size: [3, 5]", "kernel_size: [3, 4]", r"small\.yaml:10: .*kernel_size\[1\]: 4 is illegal; legal: odd numbers from 1 to 63"),
        ("width: [8, 16]", "width: [16, 8]", r"small\.yaml:8: .*not ascending; write \[8, 16\]"),
        ("width: [8, 16]", "width: [8, 8]", r"small\.yaml:8: .*holds a value twice; write \[8\]"),
        ("width: [8, 16]", "width: []", r"small\.yaml:8: stages\[0\]\.width: is empty"),
        ("width: [8, 16]", "width: wide", r"small\.yaml:8: .*is 'wide'; legal: a whole number"),
        ("width: [16, 24]", "width: [16, 20]", r"small\.yaml:15: .*20 does not split into heads; legal: multiples of .*8"),
        ("windows: [1, 2]", "windows: [1, 3]", r"yaml:22: stages\[1\]\.windows: 3 does not .*4 at resolution 16, 8 .*legal: \[1, 2, 4\]"),
        ("    windows: [1, 2]\n", "", r"small\.yaml:13: stages\[1\]\.windows: holds no choice"),
        ("    expand_ratio: 1\n", "    expand_ratio: 1\n    windows: 1\n", r"small\.yaml:12: .*belongs to transformer"),
        ("kernel_size: [3, 5]", "kernel_size: [0, 3]", r"yaml:10: stages\[0\]\.kernel_size: 0 is illegal; mbconv blocks are not without"),
        ("stride: 2\n  - name: mix", "stride: 2\n    trim: 1\n  - name: mix", r"yaml:13: stages\[0\]\.trim: needs .mbconv"),
        ("    expand_ratio: 1\n", "    expand_ratio: 1\n    trim: 2\n", r"yaml:12: stages\[0\]\.trim: 2 is illegal; legal: whole numbers from 0 to 1"),
        ("mlp_ratio: [1, 2]", "mlp_ratio: [1, 2]\n    first_kernel_size: 3", r"yaml:22: .*first_kernel_size: belongs to stages whose first block"),
        ("stride: 2\n  - name: mix", "stride: 3\n  - name: mix", r"small\.yaml:12: .*stride: 3 is illegal; legal: whole numbers from 1 to 2"),
        ("name: mix", "name: conv", r"small\.yaml:13: stages\[1\]\.name: 'conv' is taken"),
        ("name: mix", "name: head", r"small\.yaml:13: stages\[1\]\.name: 'head' is taken"),
        ("transformer: {head_dim: 8}\n", "", r"small\.yaml:14: stages\[1\]\.block: a hybrid stage needs"),
        ("block: hybrid", "block: hybird", r"small\.yaml:14: .*did you mean 'hybrid'\? legal: mbconv, hybrid, ghost"),
        ("{head_dim: 8}", "{norm: layer}", r"small\.yaml:24: transformer\.norm: .*legal: token, joint"),
        ("{head_dim: 8}", "{head_dim: 0}", r"small\.yaml:24: transformer\.head_dim: 0 is illegal"),
        ("stem: {width: 8, stride: 1}", "stem: {width: 8, stride: 1, kernel_size: 2}", r"small\.yaml:4: stem\.kernel_size"),
        ("resolution: [16, 32]", "resolution: [16, 32]\nresolution: 16", r"small\.yaml:4: the key 'resolution' stands"),
    ],
)  # fmt: skip
def test_a_wrong_space_is_refused_with_file_line_path_and_the_legal_values(old: str, new: str, message: str) -> None:
    assert YAML.count(old) == 1
    with pytest.raises(ValueError, match=message):
        from_node(Space, read_text(YAML.replace(old, new), "small.yaml"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stride": 2}, "kernel_size: 0 is illegal; in the first block this convolution is that of the stride"),
        ({"squeeze_excite": True}, "squeeze_excite: universal blocks have none"),
        ({"start_kernel_size": ()}, "start_kernel_size: holds no choice"),
    ],
)
def test_universal_bottlenecks_may_be_without_a_convolution_but_not_without_their_stride(
    changed: dict[str, Any], message: str
) -> None:
    stage = Stage("a", "universal", (8,), (1, 2), (0, 3), (2,), stride=1, start_kernel_size=(0, 5))
    space = Space("mine", "test", (8,), Stem((8,)), (stage,), Head((16,)))
    assert (space.smallest.start_kernel_size, space.smallest.kernel_size) == ((0,), (0,))
    assert Architecture.from_json(space.smallest.to_json()) == space.smallest
    replace(stage, stride=2, first_kernel_size=(3,))
    with pytest.raises(ValueError, match=message):
        replace(stage, **changed)


def test_a_space_can_be_built_in_python_and_is_checked_there_too() -> None:
    stage = Stage("a", "mbconv", (8, 16), (1, 2), (3,), (1,), stride=1)
    space = Space("mine", "test", (8,), Stem((8,)), (stage,), Head((16,)))
    assert space.genome.names == ("width.a", "depth.a")
    with pytest.raises(ValueError, match="transformer: no stage has transformer blocks"):
        replace(space, transformer=TransformerOptions())
    with pytest.raises(ValueError, match="stages: holds 0 stages; legal: 1 to 64"):
        replace(space, stages=())
    listed: Any = [8]
    with pytest.raises(ValueError, match=r"width: \[8\] is not a tuple"):
        replace(stage, width=listed)
    with pytest.raises(ValueError, match="width: holds 300 choices"):
        replace(stage, width=tuple(range(1, 301)))


def test_load_takes_a_name_or_a_path_and_names_the_catalog_otherwise(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(YAML, encoding="utf-8")
    assert load(tmp_path / "small.yaml") == SPACE
    with pytest.raises(ValueError, match=f"did you mean 'nasvit'.*{', '.join(names())}"):
        load("nasvti")
