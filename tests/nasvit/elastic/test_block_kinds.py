"""Every kind of block in the registry keeps the contract."""

from __future__ import annotations

import pytest

from nasvit.elastic.registry import KINDS
from nasvit.models.parts import FAMILY_BLOCKS
from search_spaces.blocks import BLOCK_FIELDS, STAGE_BLOCKS
from tests.nasvit.elastic import contract
from tests.nasvit.elastic.examples import Example, examples

EXAMPLES = [example for kind in KINDS for example in examples(kind)]
every = pytest.mark.parametrize("example", EXAMPLES, ids=[f"{each.kind}-{each.channels}" for each in EXAMPLES])


def test_the_registry_holds_what_spaces_and_families_name_and_the_ends_of_spaces() -> None:
    assert set(KINDS) == {*BLOCK_FIELDS, *FAMILY_BLOCKS, "stem", "head"}
    assert {kind for kinds in STAGE_BLOCKS.values() for kind in kinds} == set(BLOCK_FIELDS)
    assert {example.kind for example in EXAMPLES} == set(KINDS)


@every
def test_at_gives_plain_layers_and_a_copy_of_them_computes_the_same(example: Example) -> None:
    contract.check_plain(example)


@every
def test_gradients_are_views(example: Example) -> None:
    contract.check_gradients(example)


@pytest.mark.parametrize("example", [each for each in EXAMPLES if each.keys], ids=lambda each: each.keys[0].name)
def test_a_block_costs_what_its_key_says(example: Example) -> None:
    contract.check_cost(example)


@every
def test_any_batch_norm_will_do(example: Example) -> None:
    contract.check_norms(example)


SORTABLE = [each for each in EXAMPLES if contract.sortable(each)]
which = pytest.mark.parametrize("example", SORTABLE, ids=[f"{each.kind}-{each.channels}" for each in SORTABLE])


def test_blocks_with_hidden_channels_of_their_own_can_be_sorted_and_no_others() -> None:
    assert {example.kind for example in SORTABLE} == {"mbconv", "inverted", "universal", "conv_pair"}


@which
def test_sorting_keeps_what_the_widest_block_computes(example: Example) -> None:
    contract.check_sorting(example)


@which
def test_sorting_refuses_switchable_batch_norms(example: Example) -> None:
    contract.check_sorting_is_refused(example)
