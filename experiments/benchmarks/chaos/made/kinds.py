"""The ways in which folders are wrong or unusual: each changes a plan, and what is right for it."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from experiments.benchmarks.chaos.made import boxes_of, masks_of
from experiments.benchmarks.chaos.made.kind import CLASSIFIED, EVERY, IN_FOLDERS, Apply, Kind, free, give, rename, spare
from experiments.benchmarks.chaos.made.pictures import BAD, UNUSUAL, scene, simple
from experiments.benchmarks.chaos.made.plan import Numbers, Plan, Rng, Role, Sample

_OF_OTHER_SIZE = ("one pixel", "very wide or high", "large")
_PARTED = ("parts", "tar parts")


def _pictures(name: str) -> Apply:
    def apply(plan: Plan, rng: Rng, numbers: Numbers) -> None:
        for sample in free(plan, rng, rng.randint(1, 4)):
            height, width = (int(each) for each in numbers.integers(12, 40, 2))
            if plan.task != "classification":
                assert sample.picture.shown is not None
                height, width = sample.picture.shown.shape[:2]
            give(plan, sample, UNUSUAL[name](scene(numbers, height, width), numbers))

    return apply


def _bad(name: str) -> Apply:
    def apply(plan: Plan, rng: Rng, numbers: Numbers) -> None:
        for sample in spare(plan, rng, rng.randint(1, 2)):
            give(plan, sample, BAD[name](scene(numbers, 12, 12), numbers))

    return apply


def _image(numbers: Numbers) -> bytes:
    return simple(scene(numbers, 9, 9)).content


def _hidden(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    names: tuple[str, ...] = ("._000.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", ".hidden/1.png", "__MACOSX/._1.jpg")
    names += ("@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", ".ipynb_checkpoints/000-checkpoint.jpg", "$RECYCLE.BIN/a.png")
    for _ in range(rng.randint(1, 4)):
        beside = rng.choice(plan.samples)
        place = rng.choice((os.path.dirname(beside.path), plan.parts.get(beside.role, "")))
        plan.put(beside.role, os.path.join(place, rng.choice(names)), rng.choice((_image(numbers), b"?" * 82)))


def _other_files(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    for name in rng.sample(("notes.txt", "labels.csv", "film.mp4", "old.thing", "README", "a.npy"), rng.randint(1, 3)):
        sample = rng.choice(plan.samples)
        path = os.path.join(os.path.dirname(sample.path), name)
        if path in plan.files or any(path == each for _, each, _ in plan.members):
            continue
        plan.put(sample.role, path, b"no image at all")
        if plan.layout != "tar labels":
            plan.left_out("no image", sample.role, path)


def _loose(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    role: Role = rng.choice(("train", "test")) if plan.parts else "train"
    plan.put(role, os.path.join(plan.place(role), "loose.png"), _image(numbers))
    plan.left_out("loose", role, "loose.png")


def _loose_above(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    plan.files["beside.png"] = _image(numbers)
    plan.left_out("loose above", "", "beside.png")


def _loose_in_tar(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    above = os.path.dirname(os.path.dirname(plan.samples[0].path))
    for number in range(rng.randint(1, 3)):
        plan.put("train", os.path.join(above, f"loose{number}.png"), _image(numbers))
    plan.refusals.append(("loose0.png",))


def _names(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    stems: tuple[str, ...] = (
        "a\nb",
        "tab\tulator",
        os.fsdecode(b"caf\xe9"),
        "e\u0301cole",
        "ü" * 100,
        "-rf",
        "a;b",
        "100%s",
        "[red]",
    )
    stems += ("a b  c", "$HOME", "{0}", "back\\slash", "\u202eabc", "😀", "quote'\"", "a.b.c", "*", "#1", "\x1b[31mred")
    for sample in rng.sample(plan.samples, min(len(plan.samples), rng.randint(1, 4))):
        rename(plan, sample, rng.choice(stems) + f"{plan.samples.index(sample)}")


def _easy_names(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    for sample in rng.sample(plan.samples, rng.randint(1, 4)):
        stem = rng.choice(("my photo ", "e\u0301cole", "a.b.c", "[1]", "100%", "(copy) ", "ä", "'", "A&B"))
        rename(plan, sample, stem + f"{plan.samples.index(sample)}")


def _links(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    for number, sample in enumerate(free(plan, rng, rng.randint(1, 4))):
        real = f".pool/{number}{sample.picture.ending}"
        plan.files[real] = sample.picture.content
        up = os.path.relpath(real, os.path.dirname(sample.path))
        plan.links[sample.path] = rng.choice((up, "{}/" + real))


def _linked_class(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    role: Role = rng.choice(("train", "test")) if plan.parts else "train"
    folder = plan.place(role, rng.choice(plan.classes))
    if not any(path.startswith(f"{folder}/") for path in plan.links):  # which may lead elsewhere from there
        plan.linked_folders[folder] = ".pool/class"


def _circles(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    sample = rng.choice(plan.samples)
    inside = os.path.dirname(sample.path)
    if any(inside.startswith(folder) for folder in plan.linked_folders):
        return
    plan.links[f"{inside}/circle"] = rng.choice(("{}", ".", "..", "{}/" + inside))
    plan.left_out("circle", sample.role, "circle")


def _broken_links(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    for sample in spare(plan, rng, rng.randint(1, 2)):
        sample.bad = True
        plan.links[sample.path] = rng.choice(("nowhere.png", "{}/" + sample.path))


def _deep(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    for sample in rng.sample(plan.samples, rng.randint(1, 5)):
        folder, name = os.path.split(sample.path)
        if sample.path in plan.links:
            continue  # which would lead elsewhere from there
        below = "/".join(rng.choice(("d", "sub folder", "ü", "x.jpg")) for _ in range(rng.choice((1, 2, 60))))
        sample.path = os.path.join(folder, below, name)


def _folder_like_image(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    sample = rng.choice(plan.samples)
    plan.folders.append(os.path.join(os.path.dirname(sample.path), rng.choice(("x.jpg", "photo.png"))))


def _empty_class(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    plan.folders.append(plan.place("train", "leer"))
    if plan.options.get("classes") == "from train":
        plan.left_out("empty", "train", "leer")
    else:
        plan.refusals.append(("leer",))


def _one_image(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    label = rng.choice(plan.classes)
    for sample in plan.of("train", label)[1:]:
        plan.remove(sample)
    plan.refusals.append((label, "one image"))


def _missing_in_test(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    label = rng.choice(plan.classes)
    for sample in plan.of("test", label):
        plan.remove(sample)
    _differs(plan, label)


def _added_in_test(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    for number in range(rng.randint(1, 2)):
        plan.put("test", f"{plan.place('test', 'ärger')}/{number}.png", _image(numbers))
    _differs(plan, "ärger")


def _differs(plan: Plan, label: str) -> None:
    if plan.options.get("classes") == "from train":
        plan.left_out(f"class {label}", "test", label)
    else:
        plan.refusals.append((label, "from train"))


def _other_case(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    label = rng.choice(plan.classes)
    other = rng.choice((label.upper(), label.capitalize(), label.lower()))
    if other != label and plan.of("test", label):
        for sample in plan.of("test", label):
            sample.path = sample.path.replace(f"{label}/", f"{other}/", 1)
        plan.left_out("case", "test", other)


def _other_form(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    """Call a class so that its name is composed otherwise in the test part."""
    label, name = plan.classes[-1], "zwölf"
    for sample in [*plan.of("train", label), *plan.of("test", label)]:
        form = unicodedata.normalize("NFC" if sample.role == "train" else "NFD", name)
        sample.path = sample.path.replace(f"{label}/", f"{form}/", 1)
        sample.label = name
    plan.classes[-1] = name
    plan.classes.sort()


def _alike(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "café")
        plan.put("train", f"{plan.place('train', name)}/1.png", _image(numbers))
        plan.put("train", f"{plan.place('train', name)}/2.png", _image(numbers))
    plan.refusals.append(("caf", "same"))


def _case_alone(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    """Add a class whose name differs from another one's in case alone, in all parts."""
    label = rng.choice(plan.classes)
    other = label.upper()
    for sample in [each for each in plan.samples if each.label == label]:
        path = sample.path.replace(f"{label}/", f"{other}/", 1)
        shown = sample.picture.shown
        if shown is not None and not sample.bad and sample.path not in plan.links:
            plan.samples.append(Sample(sample.role, other, path, replace(sample.picture)))
    plan.classes = sorted([*plan.classes, other])


def _nested(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    plan.prefix = rng.choice(("dataset", "a/b", "images v2"))
    plan.refusals.append((plan.prefix,))


def _one_class(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    kept = rng.choice(plan.classes)
    for sample in [each for each in plan.samples if each.label != kept]:
        plan.remove(sample)
    plan.refusals.append(("one class", kept))
    plan.told.clear()


def _only(role: Role) -> Apply:
    def apply(plan: Plan, rng: Rng, numbers: Numbers) -> None:
        gone: Role = "test" if role == "train" else "train"
        for sample in plan.of(gone):
            plan.remove(sample)
        plan.files = {path: content for path, content in plan.files.items() if not path.startswith(plan.parts[gone])}
        plan.refusals.append((gone,))
        plan.may_refuse.append((plan.parts[role],))  # the images themselves are to be given

    return apply


def _third_part(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    if plan.parts["test"].lower() != "test":
        return
    for label in plan.classes:
        plan.files[f"val/{label}/0.png"] = _image(numbers)
    plan.left_out("part", "", "val")


def _twice(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    for sample in rng.sample([each for each in plan.samples if not each.is_bad], rng.randint(1, 4)):
        label = rng.choice((sample.label, rng.choice(plan.classes)))
        path = f"{os.path.dirname(plan.of(sample.role, label)[0].path)}/copy of {plan.samples.index(sample)}"
        plan.samples.append(Sample(sample.role, label, path + sample.picture.ending, sample.picture))


def _vanishing(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    plan.vanishing += spare(plan, rng, rng.randint(1, 3))


def _unreadable(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    for sample in spare(plan, rng, 1):
        sample.bad = True
        plan.modes[sample.path] = 0


def _unreadable_folder(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    folder = plan.place("train", rng.choice(plan.classes))
    plan.modes[folder] = 0
    plan.refusals.append((folder,))


def _pipes(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    for sample in spare(plan, rng, 1):
        sample.bad = True
        plan.pipes.append(sample.path)


def _spelling(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    plan.root = rng.choice(("a b", "ä", "[x]", "{1}", "100%", "x:y", "#1", "*", "$5", "two\nlines", "data.tar", "'"))
    plan.spelled = rng.choice(("{}", "{}/", "{}/.", "{}/../{name}", "./{name}", "{name}", "~/{name}"))


def _skip(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    plan.options["on_bad_image"] = "skip"


def _from_train(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    plan.options["classes"] = "from train"


def _member_twice(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    """Pack older contents of some images too, as ``tar --append`` does: the last one counts."""
    for sample in rng.sample(plan.samples, rng.randint(1, 3)):
        plan.older.append((sample.role, sample.path, _image(numbers)))
        plan.left_out("older", sample.role, sample.path)


def _compressed(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    role: Role = rng.choice([*plan.archives])
    plan.spoiled_archive = role, rng.choice(("gzip", "zip", "cut", "empty", "text"))
    plan.refusals.append((plan.archives[role],))


def _linked_members(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    sample = rng.choice(plan.samples)
    plan.member_links.append((sample.role, f"{os.path.dirname(sample.path)}/linked.png", os.path.basename(sample.path)))
    plan.left_out("link", sample.role, "linked.png")


def _labels(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    sample = rng.choice(plan.of("train"))
    wrong = rng.choice((None, b"cat", b"", b"-1", b"1.0", b"9" * 30, b"1000000000000", b"400000000"))
    sample.beside = wrong
    plan.refusals.append((os.path.basename(sample.path).partition(".")[0],))


def _line_ends(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    for sample in plan.samples:
        sample.beside = (sample.beside or b"") + rng.choice((b"\n", b"\r\n", b" "))


def _empty_folders(plan: Plan, rng: Rng, numbers: Numbers) -> None:
    sample = rng.choice(plan.samples)
    plan.folders += [f"{os.path.dirname(sample.path)}/{number}/{number}" for number in range(rng.choice((1, 200)))]


_SIMPLE: dict[str, tuple[Sequence[str], Apply, int]] = {
    "classes: from train": (_PARTED, _from_train, 3),
    "on_bad_image: skip": (EVERY, _skip, 12),
    "another case": (_PARTED, _other_case, 2),
    "another form": (_PARTED, _other_form, 2),
    "names": (CLASSIFIED[:4], _names, 4),
    "easy names": (("coco", "voc", "yolo", "masks", "masks of colors"), _easy_names, 4),
    "hidden files": (EVERY, _hidden, 4),
    "other files": (CLASSIFIED, _other_files, 3),
    "loose images": (IN_FOLDERS[:2], _loose, 2),
    "loose images above": (("parts",), _loose_above, 1),
    "loose images in a tar": (("tar",), _loose_in_tar, 1),
    "links": (IN_FOLDERS, _links, 3),
    "a linked class": (IN_FOLDERS[:2], _linked_class, 2),
    "circles": (IN_FOLDERS[:2], _circles, 2),
    "broken links": (IN_FOLDERS, _broken_links, 2),
    "deep": (IN_FOLDERS[:2], _deep, 3),
    "a folder like an image": (IN_FOLDERS, _folder_like_image, 2),
    "empty folders": (IN_FOLDERS[:2], _empty_folders, 1),
    "copies": (CLASSIFIED[:4], _twice, 2),
    "vanishing": (IN_FOLDERS, _vanishing, 2),
    "unreadable": (IN_FOLDERS, _unreadable, 2),
    "pipes": (IN_FOLDERS, _pipes, 2),
    "spelling": (IN_FOLDERS, _spelling, 5),
    "older members": (("tar", "tar parts"), _member_twice, 2),
    "linked members": (("tar", "tar parts"), _linked_members, 2),
    "line ends": (("tar labels",), _line_ends, 2),
    "labels": (("tar labels",), _labels, 2),
    "classes differ in case": (IN_FOLDERS[:2], _case_alone, 1),
    "missing in test": (_PARTED, _missing_in_test, 3),
    "added in test": (_PARTED, _added_in_test, 3),
    "an empty class": (IN_FOLDERS[:2], _empty_class, 2),
    "one image of a class": (("parts", "classes"), _one_image, 1),
    "classes look the same": (IN_FOLDERS[:2], _alike, 1),
    "an unreadable folder": (IN_FOLDERS[:2], _unreadable_folder, 1),
    "a third part": (("parts",), _third_part, 2),
    "no test part": (("parts",), _only("train"), 1),
    "no training part": (("parts",), _only("test"), 1),
    "one class": (IN_FOLDERS[:2], _one_class, 1),
    "nested": (IN_FOLDERS[:2], _nested, 1),
    "damaged archive": (("tar", "tar parts", "tar labels"), _compressed, 1),
}


def _pictures_for(name: str) -> Sequence[str]:
    return CLASSIFIED if name in _OF_OTHER_SIZE else EVERY


KINDS: dict[str, Kind] = {
    **{f"picture: {name}": Kind(_pictures_for(name), _pictures(name), 2) for name in UNUSUAL},
    **{f"bad: {name}": Kind(EVERY, _bad(name), 1) for name in BAD},
    **{name: Kind(layouts, apply, share) for name, (layouts, apply, share) in _SIMPLE.items()},
    **boxes_of.KINDS,
    **masks_of.KINDS,
}
"""All ways by name, in the order in which they are applied."""


def kinds_for(layout: str, rng: Rng) -> list[str]:
    """Draw some ways for a layout, in the order in which they are applied."""
    names = [name for name, kind in KINDS.items() if layout in kind.layouts]
    drawn = rng.choices(names, [KINDS[name].share for name in names], k=rng.choice((1, 2, 3, 4, 6)))
    first = ("on_bad_image: skip", "classes: from train")
    order = [*first, *(name for name in KINDS if name not in first)]
    return sorted({*drawn}, key=order.index)
