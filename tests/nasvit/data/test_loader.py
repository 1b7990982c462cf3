"""The loader: every batch a function of seed, epoch and index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nasvit.data import NO_AUGMENTATION, Augmentation, EncodedImages, ImageSet, Loader, Normalization
from nasvit.data.images import from_pixels

CLASSES = ("a", "b", "c")
STRONG = Augmentation(padding=2, randaugment=9, random_erasing=0.5, mixup=0.5, cutmix=0.5)
AS_STORED = Normalization((0.0,) * 3, (1 / 255,) * 3, "nothing")


def image_set(count: int = 50, size: int = 8, *, mirror_safe: bool = True) -> ImageSet:
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(count, size, size, 3), dtype=np.uint8)
    pixels[:, size // 2, size // 2, 0] = np.arange(count) % 256  # The center says which image it is.
    return ImageSet(from_pixels(pixels), torch.arange(count) % 3, CLASSES, "made", mirror_safe=mirror_safe)


def numbers(images: torch.Tensor) -> list[int]:
    return images[:, 0, images.shape[2] // 2, images.shape[3] // 2].round().int().tolist()


def make(images: ImageSet | None = None, augmentation: Augmentation = STRONG, **options: object) -> Loader:
    arguments = {"batch_size": 12, "normalization": AS_STORED, "seed": 1, **options}
    return Loader(images or image_set(), augmentation=augmentation, **arguments)  # type: ignore[arg-type]


def numpy_state() -> list[int]:
    state: list[int] = np.random.get_state(legacy=False)["state"]["key"].tolist()
    return state


def equal(first: tuple[torch.Tensor, torch.Tensor], second: tuple[torch.Tensor, torch.Tensor]) -> bool:
    return torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


def test_a_run_that_goes_on_within_an_epoch_gets_the_batches_it_would_have_got() -> None:
    unbroken = list(make().batches(epoch=3))
    resumed = list(make().batches(epoch=3, start=2))
    assert len(unbroken) == 4
    assert len(resumed) == 2 and all(equal(*pair) for pair in zip(resumed, unbroken[2:]))


def test_batches_do_not_move_the_global_generators(tmp_path: Path) -> None:
    for workers in (0, 1):
        torch.manual_seed(5)
        before = torch.get_rng_state(), numpy_state()
        list(make(workers=workers).batches(0))
        assert torch.equal(torch.get_rng_state(), before[0]) and numpy_state() == before[1]


def test_batches_do_not_depend_on_the_global_generators() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    first = make().batch(0, 0)
    torch.manual_seed(2)
    np.random.seed(2)
    assert equal(first, make().batch(0, 0))


def test_an_epoch_serves_every_image_at_most_once_and_epochs_differ() -> None:
    loader = make(augmentation=NO_AUGMENTATION)
    epochs = [[number for images, _ in loader.batches(epoch) for number in numbers(images)] for epoch in (0, 1)]
    assert len(set(epochs[0])) == len(epochs[0]) == 48
    assert epochs[0] != epochs[1] and epochs[0] != sorted(epochs[0])


def test_seeds_give_other_orders_and_other_augmentations() -> None:
    plain = [numbers(make(augmentation=NO_AUGMENTATION, seed=seed).batch(0, 0)[0]) for seed in (1, 2)]
    assert plain[0] != plain[1]
    alike = image_set().subset(np.zeros(50, dtype=np.int64))  # The order makes no difference here.
    cropped = Augmentation(randaugment=0, random_erasing=0, mixup=0, cutmix=0)
    assert not torch.equal(make(alike, cropped).batch(0, 0)[0], make(alike, cropped, seed=2).batch(0, 0)[0])


def test_targets_belong_to_the_images() -> None:
    for images, targets in make(augmentation=NO_AUGMENTATION).batches(0):
        assert [number % 3 for number in numbers(images)] == targets.tolist()


def test_unaugmented_images_come_as_they_are_stored() -> None:
    made = image_set()
    images, _ = make(made, NO_AUGMENTATION).batch(0, 0)
    assert torch.allclose(images, made.pixels[numbers(images)].float(), atol=1e-3)


def test_mixing_turns_targets_into_probabilities() -> None:
    assert make(augmentation=NO_AUGMENTATION).batch(0, 0)[1].dtype == torch.int64
    probabilities = make().batch(0, 0)[1]
    assert probabilities.shape == (12, 3) and torch.allclose(probabilities.sum(dim=1), torch.ones(12))


@settings(max_examples=20, deadline=None)
@given(world=st.sampled_from([1, 2, 3]), epoch=st.integers(0, 3), index=st.integers(0, 3), mixes=st.booleans())
def test_the_parts_of_all_processes_are_the_batch_of_one(world: int, epoch: int, index: int, mixes: bool) -> None:
    augmentation = STRONG if mixes else Augmentation(random_erasing=0.5, mixup=0, cutmix=0)
    whole = make(augmentation=augmentation).batch(epoch, index)
    parts = [make(augmentation=augmentation, rank=rank, world=world).batch(epoch, index) for rank in range(world)]
    joined = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
    heads = [torch.cat([part[0][: len(part[0]) // 2] for part in parts])]
    tails = [part[0][len(part[0]) // 2 :] for part in reversed(parts)]
    assert torch.equal(torch.cat(heads + tails), whole[0])
    assert torch.equal(joined[1].sort(dim=0).values, whole[1].sort(dim=0).values)


def test_processes_of_a_batch_that_cannot_be_shared_out_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        make(world=4, rank=0)
    with pytest.raises(ValueError, match="multiple of 2"):
        make(batch_size=7)
    with pytest.raises(ValueError, match="0 <= rank < world"):
        make(rank=2, world=2)
    with pytest.raises(ValueError, match="need batch_size >= 1"):
        make(batch_size=0)
    assert len(make(augmentation=NO_AUGMENTATION, batch_size=1).batch(0, 0)[1]) == 1


@pytest.mark.parametrize("channels_last", [True, False])
def test_images_come_in_the_asked_memory_layout(channels_last: bool) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    loader = make(channels_last=channels_last)
    served = [loader.batch(0, 0)[0], next(loader.evaluation_batches())[0], loader.calibration_batches(1)[0]]
    assert all(images.is_contiguous(memory_format=layout) for images in served)


def test_evaluation_serves_every_image_once_in_order_and_unaugmented() -> None:
    made = image_set()
    batches = list(make(made).evaluation_batches())
    assert [len(images) for images, _ in batches] == [12, 12, 12, 12, 2]
    assert torch.allclose(torch.cat([images for images, _ in batches]), made.pixels.float(), atol=1e-3)
    assert torch.equal(torch.cat([targets for _, targets in batches]), made.targets)


def test_calibration_batches_are_fixed_kept_and_unaugmented() -> None:
    made = image_set()
    loader = make(made)
    first = loader.calibration_batches(3)
    list(loader.batches(0))
    assert loader.calibration_batches(3) is first
    assert all(torch.equal(*pair) for pair in zip(first, make(made).calibration_batches(3)))
    shown = [number for images in first for number in numbers(images)]
    assert len(set(shown)) == 36
    assert torch.allclose(first[0], made.pixels[numbers(first[0])].float(), atol=1e-3)


@pytest.mark.parametrize("count", [0, 5])
def test_more_calibration_batches_than_there_are_images_for_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="allow 1 to 4"):
        make().calibration_batches(count)


def test_a_batch_beyond_the_epoch_is_refused() -> None:
    with pytest.raises(ValueError, match="make 4 batches"):
        make().batch(0, 4)


def test_digits_are_not_mirrored_unless_asked_and_then_refused() -> None:
    digits = image_set(mirror_safe=False)
    plain = Augmentation(crop="none", randaugment=0, random_erasing=0, mixup=0, cutmix=0)
    images, _ = make(digits, plain).batch(0, 0)
    assert torch.allclose(images, digits.pixels[numbers(images)].float(), atol=1e-3)
    with pytest.raises(ValueError, match="set mirror to false"):
        make(digits, Augmentation(mirror=True))


def files(folder: Path, count: int = 20) -> ImageSet:
    rng = np.random.default_rng(0)
    for index in range(count):
        size = (10 + index % 3, 12, 3)
        Image.fromarray(rng.integers(256, size=size, dtype=np.uint8)).save(folder / f"{index:02d}.png")
    encoded = EncodedImages(tuple(sorted(folder.glob("*.png"))))
    return ImageSet(encoded, torch.arange(count) % 3, CLASSES, "files")


PHOTOS = Augmentation(crop="resized", random_erasing=0.5, mixup=0.5)


def test_worker_processes_serve_the_same_batches(tmp_path: Path) -> None:
    images = files(tmp_path)
    options = {"batch_size": 4, "image_size": 8}
    alone, helped = (make(images, PHOTOS, workers=workers, **options) for workers in (0, 2))
    assert all(equal(*pair) for pair in zip(alone.batches(1, start=1), helped.batches(1, start=1), strict=True))
    assert all(equal(*pair) for pair in zip(alone.evaluation_batches(), helped.evaluation_batches(), strict=True))


def test_encoded_images_are_shared_out_like_those_in_memory(tmp_path: Path) -> None:
    images = files(tmp_path)
    whole = make(images, PHOTOS, batch_size=8, image_size=8).batch(0, 1)[0]
    parts = [make(images, PHOTOS, batch_size=8, image_size=8, rank=rank, world=2).batch(0, 1)[0] for rank in (0, 1)]
    assert torch.equal(whole, torch.cat([parts[0][:2], parts[1], parts[0][2:]]))


def test_encoded_images_need_a_size_and_cannot_be_pad_cropped(tmp_path: Path) -> None:
    images = files(tmp_path)
    with pytest.raises(ValueError, match="give the image_size"):
        make(images, PHOTOS)
    with pytest.raises(ValueError, match="legal here are 'resized' and 'none'"):
        make(images, Augmentation(crop="pad"), image_size=8)
    assert make(images, NO_AUGMENTATION, image_size=8).batch(0, 0)[0].shape == (12, 3, 8, 8)


def test_images_in_memory_can_be_cropped_and_resized() -> None:
    assert make(augmentation=PHOTOS).batch(0, 0)[0].shape == (12, 3, 8, 8)
    assert make(augmentation=PHOTOS, image_size=6).batch(0, 0)[0].shape == (12, 3, 6, 6)
    assert next(make(augmentation=PHOTOS, image_size=6).evaluation_batches())[0].shape == (12, 3, 6, 6)


def test_photos_without_randaugment_are_cropped_and_nothing_else(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), (10, 120, 230)).save(tmp_path / "color.png")
    encoded = EncodedImages((tmp_path / "color.png",) * 4)
    images = ImageSet(encoded, torch.tensor([0, 1, 2, 0]), CLASSES, "one color")
    plain = Augmentation(crop="resized", randaugment=0, random_erasing=0, mixup=0, cutmix=0)
    loader = make(images, plain, batch_size=4, image_size=8)
    cropped = torch.cat([loader.batch(epoch, 0)[0] for epoch in range(8)])
    flat = torch.tensor([10.0, 120.0, 230.0]).view(3, 1, 1).expand(32, 3, 8, 8)
    torch.testing.assert_close(cropped, flat, rtol=0, atol=1e-3)  # any other change of it would show


def test_another_size_than_the_stored_one_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="stored as 8x8, image_size 6"):
        make(image_size=6)
