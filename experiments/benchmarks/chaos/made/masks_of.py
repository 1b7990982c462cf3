"""Ways in which masks are wrong or unusual."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from experiments.benchmarks.chaos.made.kind import Kind, free, spare
from experiments.benchmarks.chaos.made.layouts import mask_content, mask_file
from experiments.benchmarks.chaos.made.pictures import encoded
from experiments.benchmarks.chaos.made.plan import Numbers, Plan, Rng

MASKED = ("masks", "masks of colors")


def _always(content: bytes) -> Callable[[Plan], bytes]:
    return lambda plan: content


def _other_size(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    for sample in spare(plan, rng, rng.randint(1, 2)):
        sample.bad = True
        assert sample.mask is not None
        sample.mask = np.pad(sample.mask, ((0, rng.randint(1, 3)), (0, rng.randint(0, 2))), mode="edge")


def _missing(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    for sample in spare(plan, rng, 1):
        sample.bad = True
        plan.documents.pop(mask_file(sample))


def _damaged(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    for sample in spare(plan, rng, rng.randint(1, 2)):
        sample.bad = True
        content = mask_content(plan, sample)
        plan.documents[mask_file(sample)] = _always(rng.choice((b"", b"<html>", content[: len(content) // 2])))


def _unused(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    sample = rng.choice(plan.of("train"))
    plan.files[f"{mask_file(sample).rpartition('/')[0]}/unused.png"] = mask_content(plan, sample)
    plan.left_out("unused", "train", "unused.png")


def _unknown(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    if "classes.txt" not in plan.documents:
        return  # all values are classes then
    for sample in spare(plan, rng, 1):
        sample.bad = True
        assert sample.mask is not None
        if plan.palette:
            image = Image.open(io.BytesIO(mask_content(plan, sample)))
            image.putpixel((0, image.height - 1), (7, 6, 5))
            plan.documents[mask_file(sample)] = _always(encoded(image, "PNG"))
        else:
            sample.mask[-1, 0] = 77


def _other_kinds(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    """Write masks of numbers with a palette, 16 bits or an opacity, and masks of colors with a palette."""
    for sample in free(plan, rng, rng.randint(1, 4)):
        mask = sample.mask
        assert mask is not None
        image = Image.fromarray(mask)
        if plan.palette:
            image.putpalette([part for value in range(256) for part in plan.palette.get(value, (9, 9, 9))])
        elif (how := rng.randrange(3)) == 0:
            image.putpalette([(37 * each) % 256 for each in range(768)])
        elif how == 1:
            image = Image.fromarray(mask.astype(np.uint16))
        else:
            image.putalpha(Image.fromarray(np.full_like(mask, 255)))
        plan.documents[mask_file(sample)] = _always(encoded(image, "PNG"))


def _lossy(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    """Write masks as JPEG, which changes values: never to be taken for classes."""
    for sample in spare(plan, rng, 1):
        sample.bad = True
        assert sample.mask is not None
        noise = np.asarray(numbers.integers(0, 3, (24, 24)), np.uint8) * 100
        side = sample.mask.shape
        mask = np.resize(noise, side)
        content = encoded(Image.fromarray(mask), "JPEG", quality=30)
        plan.documents.pop(mask_file(sample))
        plan.documents[mask_file(sample).removesuffix(".png") + ".jpg"] = _always(content)


def _colors_without_table(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    for sample in spare(plan, rng, 1):
        sample.bad = True
        assert sample.mask is not None
        plan.documents[mask_file(sample)] = _always(encoded(Image.fromarray(sample.mask).convert("RGB"), "PNG"))


def _damaged_table(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    texts = [b"", b"1 2 3 a\nb\n", b"1 2 3 a\n1 2 3 b\n", b"\xff\xfea\0b\0", b"void\n"]
    text = rng.choice(texts)
    plan.documents["classes.txt"] = _always(text)
    plan.raw = [(name, edit) for name, edit in plan.raw if name != "classes.txt"]
    plan.refusals.append(("classes.txt",))


KINDS: dict[str, Kind] = {
    "masks of another size": Kind(MASKED, _other_size),
    "masks that miss": Kind(MASKED, _missing),
    "damaged masks": Kind(MASKED, _damaged),
    "unused masks": Kind(MASKED, _unused),
    "unknown in masks": Kind(MASKED, _unknown),
    "masks of other kinds": Kind(MASKED, _other_kinds),
    "lossy masks": Kind(MASKED, _lossy, 1),
    "colors without a table": Kind(("masks",), _colors_without_table, 1),
    "damaged table": Kind(MASKED, _damaged_table, 1),
}
"""Ways by name, in the order in which they are applied."""
