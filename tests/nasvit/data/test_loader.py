"""The loader: every batch a function of seed, epoch and index."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from nasvit.compute import Compute
from nasvit.data import NO_AUGMENTATION, Augmentation, EncodedImages, ImageSet, Loader, Normalization
from nasvit.data.images import decode_if_small, from_pixels
from nasvit.data.randomness import global_random_kept
from nasvit.data.workers import choose_workers
from tests.nasvit.pretend import MixedDevicesError, PretendDevice, WaitedError

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
        loader = make(workers=workers)
        assert all(
            len(list(each)) for each in (loader.batches(0), loader.evaluation_batches(), loader.calibration_batches(2))
        )
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
    computes = [Compute(rank=rank, count=world) for rank in range(world)]
    parts = [make(augmentation=augmentation, compute=compute).batch(epoch, index) for compute in computes]
    joined = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
    heads = [torch.cat([part[0][: len(part[0]) // 2] for part in parts])]
    tails = [part[0][len(part[0]) // 2 :] for part in reversed(parts)]
    assert torch.equal(torch.cat(heads + tails), whole[0])
    assert torch.equal(joined[1].sort(dim=0).values, whole[1].sort(dim=0).values)


def test_batches_that_cannot_be_shared_out_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        make(compute=Compute(count=4)).steps(0, 1)
    with pytest.raises(ValueError, match="batch_size 7: mixing images or 1 processes need a multiple of 2"):
        make(batch_size=7).batch(0, 0)
    with pytest.raises(ValueError, match="need batch_size >= 1"):
        make(batch_size=0)
    with pytest.raises(ValueError, match="make 0 batches"):
        make(batch_size=60).steps(0, 1)
    assert len(make(augmentation=NO_AUGMENTATION, batch_size=1).batch(0, 0)[1]) == 1


def test_steps_go_on_through_epochs_from_any_step() -> None:
    loader = make()
    wanted = [*loader.batches(0), *loader.batches(1), *loader.batches(2)]
    served = list(make().steps(3, 10))
    assert len(served) == 7 and all(equal(*pair) for pair in zip(served, wanted[3:10], strict=True))


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


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_evaluation_is_shared_out_batch_by_batch_and_whole_if_asked(rank: int) -> None:
    whole = list(make().evaluation_batches())
    loader = make(compute=Compute(rank=rank, count=3), augmentation=NO_AUGMENTATION)
    mine = list(loader.evaluation_batches())
    assert all(equal(*pair) for pair in zip(mine, whole[rank::3], strict=True))
    assert all(equal(*pair) for pair in zip(loader.evaluation_batches(shared=False), whole, strict=True))


def test_calibration_batches_are_fixed_kept_and_unaugmented() -> None:
    made = image_set()
    loader = make(made)
    first = loader.calibration_batches(3)
    list(loader.batches(0))
    assert loader.calibration_batches(3) is first
    assert all(torch.equal(*pair) for pair in zip(first, make(made).calibration_batches(3), strict=True))
    assert torch.equal(first[1], list(first)[1]) and torch.equal(first[-1], first[2])
    assert len(first[1::2]) == 1 and torch.equal(first[1::2][0], first[1])
    assert [len(first[rank::2]) for rank in (0, 1)] == [2, 1]
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
    encoded = EncodedImages.of_files(sorted(folder.glob("*.png")))
    return ImageSet(encoded, torch.arange(count) % 3, CLASSES, "files")


PHOTOS = Augmentation(crop="resized", random_erasing=0.5, mixup=0.5)


@pytest.mark.parametrize("augmentation", [PHOTOS, STRONG])
def test_worker_processes_serve_the_same_batches(tmp_path: Path, augmentation: Augmentation) -> None:
    images = files(tmp_path)
    options = {"batch_size": 4, "image_size": 8}
    alone, helped = (make(images, augmentation, workers=workers, **options) for workers in (0, 2))
    assert all(equal(*pair) for pair in zip(alone.steps(3, 13), helped.steps(3, 13), strict=True))
    assert all(equal(*pair) for pair in zip(alone.evaluation_batches(), helped.evaluation_batches(), strict=True))
    calibrations = alone.calibration_batches(2), helped.calibration_batches(2)
    assert all(torch.equal(*pair) for pair in zip(*calibrations, strict=True))


@pytest.mark.slow
def test_workers_that_are_not_forked_serve_the_same_batches(tmp_path: Path) -> None:
    images, before = files(tmp_path), multiprocessing.get_start_method()
    alone, helped = (make(images, STRONG, workers=workers, batch_size=4, image_size=8) for workers in (0, 1))
    multiprocessing.set_start_method("spawn", force=True)
    try:
        assert all(equal(*pair) for pair in zip(alone.steps(3, 13), helped.steps(3, 13), strict=True))
    finally:
        multiprocessing.set_start_method(before, force=True)


@pytest.mark.parametrize("augmentation", [PHOTOS, STRONG])
def test_threads_that_load_at_once_get_the_batches_that_they_would_get_alone(augmentation: Augmentation) -> None:
    images = image_set(40, 48)

    def steps(seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return list(make(images, augmentation, seed=seed).steps(0, 6))  # type: ignore[arg-type]

    alone, interval = [steps(seed) for seed in range(3)], sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(3) as pool:
            together = list(pool.map(steps, range(3)))
    finally:
        sys.setswitchinterval(interval)
    assert all(equal(*pair) for each in zip(alone, together, strict=True) for pair in zip(*each, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_worker_that_is_forked_while_a_thread_augments_does_not_wait_for_it() -> None:
    entered, leave = threading.Event(), threading.Event()

    def augment() -> None:
        with global_random_kept():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=augment)
    thread.start()
    entered.wait()
    worker = multiprocessing.get_context("fork").Process(target=global_random_kept().__enter__)
    worker.start()
    worker.join(10)
    alive = worker.is_alive()
    worker.kill()
    leave.set()
    thread.join()
    assert not alive


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_one_set_of_workers_serves_all_steps_and_ends_with_them(tmp_path: Path, device: str) -> None:
    compute = Compute(torch.device(device))
    steps = make(files(tmp_path), PHOTOS, batch_size=4, image_size=8, workers=2, compute=compute).steps(0, 20)
    next(steps)
    first = {child.pid for child in multiprocessing.active_children()}
    for _ in range(12):  # an epoch is five batches
        next(steps)
    assert {child.pid for child in multiprocessing.active_children()} == first and len(first) == 2
    steps.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    original = EncodedImages.open

    def noted(self: EncodedImages, index: int) -> Image.Image:
        calls.append(index)
        return original(self, index)

    monkeypatch.setattr(EncodedImages, "open", noted)
    return calls


def test_evaluation_and_calibration_decode_every_image_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = make(files(tmp_path), NO_AUGMENTATION, batch_size=4, image_size=8)
    calls = opened(monkeypatch)
    batches = [list(loader.evaluation_batches()) for _ in range(3)]
    assert sorted(calls) == list(range(20))
    assert all(equal(*pair) for pair in zip(batches[0], batches[2], strict=True))
    calls.clear()
    for _ in range(2):
        list(loader.calibration_batches(4)[1::2])
    assert len(calls) == 8
    list(loader.calibration_batches(4))
    assert len(calls) == 16


def test_what_is_kept_leaves_the_shared_memory_that_workers_sent_it_in(tmp_path: Path) -> None:
    loader = make(files(tmp_path), NO_AUGMENTATION, batch_size=4, image_size=8, workers=1)
    assert len(list(loader.evaluation_batches())) == len(loader._evaluation[True]._kept) == 5
    for kept in loader._evaluation[True]._kept.values():
        assert not kept.pixels.is_shared() and not kept.targets.is_shared()


def test_what_is_served_may_be_changed_without_changing_what_is_kept(tmp_path: Path) -> None:
    loader = make(files(tmp_path), NO_AUGMENTATION, batch_size=4, image_size=8)
    before = [images.clone() for images, _ in loader.evaluation_batches()]
    for images, _ in loader.evaluation_batches():
        images.zero_()
    assert all(torch.equal(images, known) for (images, _), known in zip(loader.evaluation_batches(), before))


@pytest.mark.parametrize("workers", [0, 2])
def test_sets_beyond_the_cache_limit_are_streamed_again_by_workers_that_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr("nasvit.data.plain.CACHE_LIMIT", 20 * 8 * 8 * 3 - 1)
    loader = make(files(tmp_path), NO_AUGMENTATION, batch_size=4, image_size=8, workers=workers)
    calls = opened(monkeypatch)
    first = list(loader.evaluation_batches())
    children = {child.pid for child in multiprocessing.active_children()}
    second = list(loader.evaluation_batches())
    assert all(equal(*pair) for pair in zip(first, second, strict=True))
    assert len(calls) == (0 if workers else 40)
    assert {child.pid for child in multiprocessing.active_children()} == children and len(children) == workers


def test_two_evaluations_at_once_do_not_disturb_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasvit.data.plain.CACHE_LIMIT", 0)
    loader = make(files(tmp_path), NO_AUGMENTATION, batch_size=4, image_size=8, workers=1)
    assert len(list(loader.evaluation_batches())) == 5  # its workers stay, for one of the two
    pairs = list(zip(loader.evaluation_batches(), loader.evaluation_batches(), strict=True))
    assert len(pairs) == 5 and all(equal(*pair) for pair in pairs)


def test_a_batch_that_no_memory_could_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = files(tmp_path)
    monkeypatch.setattr(os, "sysconf", lambda name: 4096)  # bytes of a page, and pages
    make(images, NO_AUGMENTATION, batch_size=4, image_size=64).check_training()
    with pytest.raises(ValueError, match=r"batch_size 4: a batch of images of 512x512 pixels takes .* give a smaller"):
        make(images, NO_AUGMENTATION, batch_size=4, image_size=512).check_training()


@pytest.mark.parametrize("stored", ["memory", "files"])
def test_batches_are_finished_on_the_device_without_being_read_back(tmp_path: Path, stored: str) -> None:
    images = image_set() if stored == "memory" else files(tmp_path)
    augmentation = replace(PHOTOS, random_erasing=1.0, cutmix=0.5)
    loader = make(images, augmentation, batch_size=4, image_size=8, compute=Compute(torch.device("meta")))
    loader.batch(0, 0)
    with PretendDevice() as watched:
        batches = list(loader.steps(0, 6))
    assert watched.copies == 6 * 3  # pixels, targets and noise
    assert {(pixels.device.type, pixels.dtype, targets.device.type) for pixels, targets in batches} == {
        ("meta", torch.float32, "meta")
    }
    with PretendDevice() as watched:
        served = [*loader.evaluation_batches(), *loader.calibration_batches(2)]
    assert watched.copies == 2 * (len(served) - 2) + 2
    with pytest.raises(WaitedError, match="_local_scalar_dense"), PretendDevice():
        float(batches[0][0].sum())
    with pytest.raises(MixedDevicesError, match="mixes devices"), PretendDevice():
        batches[0][0] + torch.zeros(8)


def test_beside_a_device_one_batch_is_on_it_ahead_of_its_use() -> None:
    on_cpu, on_device = (make(compute=Compute(torch.device(device))) for device in ("cpu", "meta"))
    prepared = {loader: noted_preparations(loader) for loader in (on_cpu, on_device)}
    for loader in prepared:
        steps = loader.steps(0, 3)
        assert [(next(steps), len(prepared[loader]))[1] for _ in range(3)] == (
            [1, 2, 3] if loader is on_cpu else [2, 3, 3]
        )


def noted_preparations(loader: Loader) -> list[int]:
    calls: list[int] = []
    original = loader.batch

    def noted(epoch: int, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(index)
        return original(epoch, index)

    loader.batch = noted  # type: ignore[method-assign]
    return calls


def test_what_workers_get_can_be_sent_to_processes_that_are_not_forked(tmp_path: Path) -> None:
    for images in (image_set(), files(tmp_path)):
        loader = make(images, PHOTOS, image_size=8)
        sent = pickle.loads(pickle.dumps(loader._preparation))
        ours, theirs = (each.training(1, 0, loader.places) for each in (loader._preparation, sent))
        assert torch.equal(ours.pixels, theirs.pixels) and ours.erasures is not None


def test_workers_are_chosen_beside_an_accelerator_and_fewer_for_images_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(40), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    encoded, cuda, cpu = files(tmp_path), torch.device("cuda"), torch.device("cpu")
    assert choose_workers(encoded, cuda) == 16
    assert choose_workers(image_set(), cuda) == 4
    assert choose_workers(encoded, cpu) == choose_workers(image_set(), cpu) == 0
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert choose_workers(encoded, cuda) == 5
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "64")
    assert choose_workers(encoded, cuda) == 1


@pytest.mark.parametrize("size", [(40, 60), (60, 40), (33, 47), (24, 24)])
def test_evaluation_cuts_the_center_out_of_a_larger_image_as_torchvision_does(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    images = ImageSet(EncodedImages.of_files((tmp_path / "a.png",)), torch.tensor([0]), CLASSES, "one")
    loader = make(images, NO_AUGMENTATION, batch_size=1, image_size=21, crop_pct=0.875)
    resize = transforms.Resize(24, transforms.InterpolationMode.BICUBIC)
    expected = transforms.PILToTensor()(transforms.CenterCrop(21)(resize(Image.fromarray(pixels))))
    assert torch.allclose(next(loader.evaluation_batches())[0][0], expected.float(), atol=1e-3)
    whole = make(images, NO_AUGMENTATION, batch_size=1, image_size=21)
    assert not torch.equal(next(whole.evaluation_batches())[0], next(loader.evaluation_batches())[0])


def test_a_crop_ratio_needs_square_images() -> None:
    wide = ImageSet(torch.zeros(4, 3, 6, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), CLASSES, "wide")
    with pytest.raises(ValueError, match="crop_pct 0.5 cuts out squares, its images are 6x8"):
        make(wide, NO_AUGMENTATION, batch_size=2, crop_pct=0.5)


def test_encoded_images_are_shared_out_like_those_in_memory(tmp_path: Path) -> None:
    images = files(tmp_path)
    whole = make(images, PHOTOS, batch_size=8, image_size=8).batch(0, 1)[0]
    computes = [Compute(rank=rank, count=2) for rank in (0, 1)]
    parts = [make(images, PHOTOS, batch_size=8, image_size=8, compute=each).batch(0, 1)[0] for each in computes]
    assert torch.equal(whole, torch.cat([parts[0][:2], parts[1], parts[0][2:]]))


def test_encoded_images_need_a_size(tmp_path: Path) -> None:
    images = files(tmp_path)
    with pytest.raises(ValueError, match="give the image_size"):
        make(images, PHOTOS)
    assert make(images, NO_AUGMENTATION, image_size=8).batch(0, 0)[0].shape == (12, 3, 8, 8)


@pytest.mark.parametrize("crop", ["pad", "none"])
@pytest.mark.parametrize("randaugment", [0, 5])
def test_encoded_images_are_varied_like_the_same_ones_in_memory(tmp_path: Path, crop: str, randaugment: int) -> None:
    images = files(tmp_path)
    assert isinstance(images.images, EncodedImages)
    decoded = decode_if_small(images.images, 8, 2**20)
    assert decoded is not None and not decoded[1]
    held = replace(images, images=decoded[0])
    augmentation = replace(STRONG, crop=crop, randaugment=randaugment)
    streamed, from_memory = (make(each, augmentation, image_size=8) for each in (images, held))
    assert held.image_size == (8, 8) and equal(streamed.batch(1, 0), from_memory.batch(1, 0))


def test_images_in_memory_can_be_cropped_and_resized() -> None:
    assert make(augmentation=PHOTOS).batch(0, 0)[0].shape == (12, 3, 8, 8)
    assert make(augmentation=PHOTOS, image_size=6).batch(0, 0)[0].shape == (12, 3, 6, 6)
    assert next(make(augmentation=PHOTOS, image_size=6).evaluation_batches())[0].shape == (12, 3, 6, 6)


def test_photos_without_randaugment_are_cropped_and_nothing_else(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), (10, 120, 230)).save(tmp_path / "color.png")
    encoded = EncodedImages.of_files((tmp_path / "color.png",) * 4)
    images = ImageSet(encoded, torch.tensor([0, 1, 2, 0]), CLASSES, "one color")
    plain = Augmentation(crop="resized", randaugment=0, random_erasing=0, mixup=0, cutmix=0)
    loader = make(images, plain, batch_size=4, image_size=8)
    cropped = torch.cat([loader.batch(epoch, 0)[0] for epoch in range(8)])
    flat = torch.tensor([10.0, 120.0, 230.0]).view(3, 1, 1).expand(32, 3, 8, 8)
    torch.testing.assert_close(cropped, flat, rtol=0, atol=1e-3)  # any other change of it would show


def test_another_size_than_the_stored_one_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="stored as 8x8, image_size 6"):
        make(image_size=6)
