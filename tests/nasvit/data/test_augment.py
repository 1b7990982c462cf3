"""Augmentation: what it does, and that it is a function of its draws."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from timm.data.random_erasing import RandomErasing

from nasvit.data import NO_AUGMENTATION, Augmentation
from nasvit.data.augment import Draws, ImageVariation, Mixing, moved_and_mirrored
from nasvit.data.erasing import erasures
from nasvit.data.randomness import generator, global_random_kept, seed_global_random


def numpy_state() -> list[int]:
    state: list[int] = np.random.get_state(legacy=False)["state"]["key"].tolist()
    return state


def erase(images: torch.Tensor, draws: Draws) -> None:
    drawn = erasures(draws, tuple(images.shape[1:]))
    assert drawn is not None
    drawn.write(images)


def draws_of(offsets: list[tuple[int, int]], mirrored: list[bool]) -> Draws:
    count = len(offsets)
    zeros = np.zeros(count, dtype=np.int64)
    return Draws(np.array(offsets), np.array(mirrored), zeros, np.ones(count, dtype=bool), np.arange(count), 0)


@given(down=st.integers(-4, 4), right=st.integers(-4, 4), mirrored=st.booleans(), seed=st.integers(0, 99))
def test_a_moved_crop_is_the_window_of_the_padded_image(down: int, right: int, mirrored: bool, seed: int) -> None:
    stored = np.random.default_rng(seed).integers(1, 256, size=(3, 6, 7, 2), dtype=np.uint8)
    padded = np.pad(stored[2], ((4, 4), (4, 4), (0, 0)))
    expected = padded[4 + down : 10 + down, 4 + right : 11 + right]
    moved = moved_and_mirrored(stored, np.array([2]), draws_of([(down, right)], [mirrored]))
    assert np.array_equal(moved[0], expected[:, ::-1] if mirrored else expected)


def test_draws_cover_the_padding_evenly_and_mirror_half() -> None:
    draws = Draws.of(Augmentation(padding=2), True, 20_000, generator(0))
    assert sorted(np.unique(draws.offsets).tolist()) == [-2, -1, 0, 1, 2]
    assert np.bincount(draws.offsets[:, 0] + 2).min() > 3800
    assert 0.48 < draws.mirrored.mean() < 0.52
    assert not Draws.of(Augmentation(), False, 100, generator(0)).mirrored.any()
    assert not Draws.of(NO_AUGMENTATION, True, 100, generator(0)).offsets.any()


def test_erasing_touches_only_the_drawn_images_and_the_share_asked_for() -> None:
    images = torch.zeros(8, 3, 16, 16)
    draws = Draws.of(Augmentation(random_erasing=1.0), True, 8, generator(1))
    half = Draws(draws.offsets, draws.mirrored, draws.image_seeds, np.arange(8) < 4, draws.erasing_seeds, 0)
    erase(images, half)
    assert [bool(image.any()) for image in images] == [True] * 4 + [False] * 4
    share = (images[:4] != 0).float().mean()
    assert 0.02 <= share <= 0.34


def test_erasing_an_image_does_not_depend_on_the_others_of_the_batch() -> None:
    draws = Draws.of(Augmentation(random_erasing=1.0), True, 6, generator(1))
    together, alone = torch.zeros(6, 1, 9, 9), torch.zeros(1, 1, 9, 9)
    erase(together, draws)
    erase(alone, draws.at(np.array([4])))
    assert torch.equal(together[4], alone[0])


def test_erasing_is_what_timm_does_to_the_image_itself() -> None:
    draws = Draws.of(Augmentation(random_erasing=0.6), True, 12, generator(2))
    ours, theirs = torch.zeros(12, 3, 14, 11), torch.zeros(12, 3, 14, 11)
    erase(ours, draws)
    with global_random_kept():
        for index in np.flatnonzero(draws.erased):
            seed_global_random(int(draws.erasing_seeds[index]), with_torch=True)
            RandomErasing(probability=1.0, mode="pixel", device="cpu")(theirs[index])
    assert torch.equal(ours, theirs) and ours.any()


def test_nothing_is_written_where_nothing_is_erased() -> None:
    assert erasures(Draws.of(NO_AUGMENTATION, True, 4, generator(0)), (3, 8, 8)) is None


def test_library_augmentations_leave_the_global_generators_as_they_were() -> None:
    before = random.getstate(), numpy_state(), torch.get_rng_state()
    erase(torch.zeros(4, 3, 16, 16), Draws.of(Augmentation(random_erasing=1.0), True, 4, generator(0)))
    Mixing(Augmentation(mixup=1.0), classes=3)(torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]), seed=5)
    assert random.getstate() == before[0]
    assert numpy_state() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0)])
def test_mixing_pairs_an_image_with_the_one_at_the_mirrored_place(mixup: float, cutmix: float) -> None:
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 8, 8).clone()
    mixing = Mixing(Augmentation(mixup=mixup, cutmix=cutmix), classes=4)
    mixed, probabilities = mixing(images, torch.arange(4), seed=3)
    share = probabilities[0, 0]
    assert 0 < share < 1
    assert torch.allclose(probabilities, torch.eye(4) * share + torch.eye(4).flip(0) * (1 - share))
    assert torch.allclose(mixed.mean(dim=(1, 2, 3)), probabilities @ torch.arange(4.0), atol=1e-5)


def test_mixing_is_a_function_of_its_seed() -> None:
    mixing = Mixing(Augmentation(mixup=0.5, cutmix=0.5), classes=4)
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    outcomes = [mixing(images.clone(), torch.arange(4), seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(outcomes[0][0], outcomes[1][0]) and torch.equal(outcomes[0][1], outcomes[1][1])
    assert not torch.equal(outcomes[0][0], outcomes[2][0])


def photo(channels: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(256, size=(32, 32, channels), dtype=np.uint8)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)


@pytest.mark.parametrize(
    "strength",
    [
        Augmentation(randaugment=1, randaugment_layers=2),
        Augmentation(randaugment=10, randaugment_layers=2),
        Augmentation(randaugment=0, autoaugment="original"),
        Augmentation(randaugment=0, autoaugment="v0"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_colors_and_places_are_varied_of_gray_and_color_at_every_strength(
    strength: Augmentation, channels: int
) -> None:
    variation = ImageVariation(strength, (32, 32), channels)
    image = photo(channels)
    with global_random_kept():
        results = [variation(image, False, seed) for seed in range(150)]
    assert all(result.shape == (32, 32, channels) for result in results)
    assert sum(not np.array_equal(result, results[0]) for result in results) > 50


def test_a_resized_crop_has_the_asked_size_and_is_a_function_of_its_seed() -> None:
    variation = ImageVariation(Augmentation(crop="resized", randaugment=0), (20, 20), 3)
    with global_random_kept():
        first, again, other = (variation(photo(3), False, seed) for seed in (1, 1, 2))
        mirrored = variation(photo(3), True, 1)
    assert first.shape == (20, 20, 3)
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(first, mirrored[:, ::-1])


class Recipe:
    randaugment = 3
    autoaugment = "v0"
    random_erasing = 0.2
    mixup = 0.1
    cutmix = 0.0


def test_a_recipe_gives_the_strengths_and_the_caller_the_geometry() -> None:
    made = Augmentation.from_recipe(Recipe(), crop="resized", mirror=False)
    strengths = {"randaugment": 3, "autoaugment": "v0", "random_erasing": 0.2, "mixup": 0.1, "cutmix": 0.0}
    assert made == Augmentation(crop="resized", mirror=False, **strengths)  # type: ignore[arg-type]
    assert made.mixes and not NO_AUGMENTATION.mixes


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("crop", "random", "legal are 'none', 'pad' and 'resized'"),
        ("randaugment", 11, "integers 0"),
        ("randaugment", 0.5, "integers 0"),
        ("scale", (0.5, 0.1), "smallest"),
        ("scale", (0.0, 1.0), "smallest"),
        ("scale", (0.5, 1.5), "smallest"),
        ("random_erasing", 1.5, "from 0 to 1"),
        ("mixup", -0.1, "must not be negative"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: object, words: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.*{words}"):
        Augmentation(**{name: value})  # type: ignore[arg-type]


def test_global_generators_are_given_back_also_after_an_error() -> None:
    before = random.getstate()
    with pytest.raises(KeyError), global_random_kept():  # noqa: PT012 - the error comes after the seeding
        seed_global_random(1, with_torch=True)
        raise KeyError
    assert random.getstate() == before


def test_seeding_leaves_the_generators_of_accelerators_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise AssertionError("an accelerator was seeded")

    monkeypatch.setattr(torch, "manual_seed", refuse)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", refuse)
    with global_random_kept():
        seed_global_random(3, with_torch=True)
        first = torch.rand(4)
    assert torch.equal(first, torch.rand(4, generator=torch.Generator().manual_seed(3)))


def test_a_negative_random_key_is_refused() -> None:
    with pytest.raises(ValueError, match=">= 0"):
        generator(1, -1)
