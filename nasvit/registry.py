"""The names of networks, in one grammar: :func:`create` returns the network of a name with its card.

========================================  =============================================================================
``SPACE:smallest``, ``SPACE:largest``     an end of a search space (a name of the catalog or a file ``.yaml``)
``SPACE:FILE.json``, ``SPACE:PUBLISHED``  a subnet of it, from an architecture's file or a published one
``SPACE``                                 the subnet of a space that holds only one
``FAMILY[-WIDTH][@32]``                   ``mobilenet_v2-0.5``, ``resnet18``, ``ghostnet_v3-1.3@32``; at 32x32 images
``TINY[-WIDTH][@32]``                     ``mcunet``, ``mbv2-0.35``: the networks that NetAug was published with
``PUBLISHED``                             ``alphanet_a0``, ``fbnetv3_a``: a published network
``timm:MODEL[:CHECKPOINT]``               a network of timm, with weights of its own from a file
``torchvision:MODEL``                     a classifier of torchvision
``package.module:function``               what a function of your own returns, called with ``num_classes``
``FOLDER[:WIDTH]``                        a network that nasvit saved, with its weights; of several widths one, or of
                                          those that AutoSlim found the number, from 1
``hf:USER/NAME[@REVISION]``               one that ``nasvit export --to hub`` wrote, from the Hugging Face hub
``FILE.safetensors[:WHICH]``              what ``nasvit import`` wrote, with its weights; where they are shared WHICH
                                          subnet: ``smallest``, ``largest``, FILE.json, PUBLISHED, or a width
========================================  =============================================================================
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import nn

from nasvit.export.card import CARD, CONFIG, Card, is_card, way_out
from nasvit.export.saved import HUB_WEIGHTS, Described, load_saved, one_width
from nasvit.models import Family
from nasvit.models.tiny import TARGETS
from nasvit.names import FAMILIES, HUB, TIMM, architecture_of, spec_of_name, timm_spec
from nasvit.specs import PlannedSpec, Spec, SubnetSpec, TimmSpec, functions_of
from nasvit.trust import trusts
from search_spaces import Architecture, Space

CLASSES = 1000  # of a network whose name says nothing of classes
_IMPORTED = ".safetensors"
_NUMBER = re.compile(r"\d+(\.\d+)?")


def create(
    name: str,
    classes: int | None = None,
    *,
    pretrained: bool = False,
    seed: int = 0,
    image_channels: int = 3,
    trust: bool = False,
) -> Described:
    """Return the network of a name with its card: spec, classes, image size, normalization.

    Args:
        name: one of these:

            - ``SPACE:smallest``, ``SPACE:largest``, ``SPACE:FILE.json``, ``SPACE:PUBLISHED``: a subnet of a search
              space (a name of the catalog or a file ``.yaml``); ``SPACE`` alone: of one that holds only this;
            - ``FAMILY[-WIDTH][@32]``, ``TINY[-WIDTH][@32]``, ``PUBLISHED``: ``mobilenet_v2-0.5``, ``mcunet``,
              ``alphanet_a0``;
            - ``timm:MODEL[:CHECKPOINT]``, ``torchvision:MODEL``, ``package.module:function``: a network of theirs, or
              what a function of your own returns, called with ``num_classes``;
            - ``FOLDER``, ``hf:USER/NAME[@REVISION]``, ``FILE.safetensors[:WHICH]``: what nasvit saved, what is on the
              Hugging Face hub, or what ``nasvit import`` wrote, with its weights.

            All of them with examples: docs/guides/names.md.
        classes: number of classes; None: that of its weights, or 1000.
        pretrained: require trained weights; those of timm are then downloaded from its hub.
        seed: seed of the initial weights of a network without trained ones.
        image_channels: channels of the images, for families and timm; other names fix them.
        trust: call a function of its author's code that the card of a saved network names.

    Raises:
        ValueError: if there is no network of that name, it has other classes, or no weights although they are required.
    """
    found = _with_weights(name, pretrained, image_channels, trust)
    if found is None:
        if pretrained:
            raise ValueError(
                f"{name!r} names a network without weights; legal here: a folder that nasvit saved, a file that nasvit "
                "import wrote, timm:MODEL[:CHECKPOINT]; to start a training from, also the file of a state dict"
            )
        spec = spec_of(name, image_channels=image_channels)
        count = CLASSES if classes is None else classes
        return Described(spec.build(count, seed=seed), Card(spec, _numbers(count), origin={"weights": "random"}))
    if classes is not None and classes != len(found.card.classes):
        raise ValueError(
            f"{name!r} scores {len(found.card.classes)} classes and {classes} are needed; choose one that was trained "
            "on them"
        )
    return found


def spec_of(name: str, *, image_channels: int = 3) -> Spec:
    """Return the spec of a name, without building the network.

    Args:
        name: as in :func:`create`.
        image_channels: as in :func:`create`.

    Raises:
        ValueError: if there is no such network.
    """
    if is_card(Path(name)):
        return Card.read(Path(name)).spec
    if (of_several := _in_folder(name)) is not None:
        return _one_width(*of_several).card.spec
    if name.startswith(HUB):
        return _shared(name, [CONFIG])[1].spec
    if imported_path(name) is not None:
        return _imported(name).card.spec
    return spec_of_name(name, image_channels=image_channels)


def has_weights(name: str) -> bool:
    """Return whether a network of that name brings weights of its own, those that timm would fetch left aside."""
    saved_or_imported = is_card(Path(name)) or _in_folder(name) is not None or imported_path(name) is not None
    return saved_or_imported or name.startswith(HUB) or (name.startswith(TIMM) and name.count(":") > 1)


def is_timms_own(name: str) -> bool:
    """Return whether the weights of a network of that name would be timm's own, which are fetched from its hub."""
    return name.startswith(TIMM) and name.count(":") == 1


def timm_classes(name: str) -> int:
    """Return how many classes timm's own weights of a network ``timm:MODEL`` score."""
    import timm

    told = timm.get_pretrained_cfg(name.removeprefix(TIMM))
    return CLASSES if told is None else told.num_classes


def find_architecture(space: Space, which: str) -> Architecture:
    """Return an architecture of a space by its name.

    Args:
        space: the search space.
        which: ``smallest``, ``largest``, the file of an architecture, a published subnet, or the folder of a saved one.

    Raises:
        ValueError: if there is no such architecture, or the space does not hold it.
    """
    if not is_card(Path(which)):
        return architecture_of(space, which)
    spec = Card.read(Path(which)).spec
    if not isinstance(spec, SubnetSpec):
        raise ValueError(f"{which} holds a {spec.kind} network, and a subnet of {space.name} is needed")
    space.check(spec.architecture)
    return spec.architecture


def is_augmentable(spec: Spec) -> bool:
    """Return whether :func:`augmentable` knows a network; the code of others is followed to find their channels."""
    return isinstance(spec, SubnetSpec) or (isinstance(spec, PlannedSpec) and spec.plan == spec.family.plan())


def augmentable(spec: Spec) -> Family | tuple[Space, Architecture]:
    """Return the family, or the space and architecture, of a network that NetAug can train inside wider ones.

    Raises:
        ValueError: if NetAug cannot train the network.
    """
    if isinstance(spec, SubnetSpec):
        return spec.space, spec.architecture
    if isinstance(spec, PlannedSpec) and is_augmentable(spec):
        return spec.family
    raise ValueError(
        f"this network cannot be augmented; legal are {', '.join(FAMILIES)} at width 1, {', '.join(TARGETS)} and "
        "subnets of a space"
    )


def _with_weights(name: str, pretrained: bool, image_channels: int, trust: bool) -> Described | None:
    """Return the network of a name that has weights of its own, else None."""
    if is_card(Path(name)):
        return load_saved(Path(name), trust=trust)
    if (of_several := _in_folder(name)) is not None:
        return _one_width(*of_several, trust=trust)
    if name.startswith(HUB):
        return load_saved(_shared(name, [CONFIG, HUB_WEIGHTS], trust)[0], trust=trust)
    if Path(name).is_dir() and not _is_known(name):
        raise ValueError(f"{name} is a folder without a saved network: {CARD} is missing{way_out(Path(name))}")
    if imported_path(name) is not None:
        return _imported(name)
    if (beside := _beside(name)) and not _is_known(name):
        raise ValueError(f"{name}: there is no such folder or file{beside}")
    if name.startswith(TIMM) and (pretrained or name.count(":") > 1):
        return _timm(name.removeprefix(TIMM), image_channels)
    return None


def _beside(name: str) -> str:
    """Return which saved networks lie where a name leads as a path to nothing; empty for names that are no paths."""
    path = Path(name)
    return way_out(path) if path.parent != Path() and not path.exists() else ""


def _in_folder(name: str) -> tuple[Path, float] | None:
    """Return folder and width of a name of the kind ``FOLDER:WIDTH``; None for other names."""
    folder, _, width = name.rpartition(":")
    if not _NUMBER.fullmatch(width) or not is_card(Path(folder)):
        return None
    return Path(folder), float(width)


def _one_width(folder: Path, width: float, *, trust: bool = False) -> Described:
    return one_width(load_saved(folder, trust=trust), width, str(folder))


def _shared(name: str, files: list[str], trust: bool = False) -> tuple[Path, Card]:
    """Return the folder to which a network of the hub was downloaded, unless it is there already, and its card.

    Args:
        name: ``hf:USER/NAME``, with ``@REVISION`` where another one than the last is meant.
        files: names of the files that are needed.
        trust: whether a function that the card names may be called.

    Raises:
        ValueError: if the hub has no such network, or cannot be reached, or the network needs code of its user.
    """
    from huggingface_hub import snapshot_download

    repository, _, revision = name.removeprefix(HUB).partition("@")
    try:
        folder = Path(snapshot_download(repository, revision=revision or None, allow_patterns=files))
    except (OSError, ValueError) as error:
        raise ValueError(f"{name!r} cannot be had from the Hugging Face hub: {error}") from error
    if not is_card(folder):
        raise ValueError(f"{name!r} is no network of nasvit: its {CONFIG} is missing, or another library's")
    card = Card.read(folder)
    unknown = [each for each in functions_of(card.spec) if not (trust or trusts(each))]
    if unknown:  # a stranger would name the function that is called here
        raise ValueError(
            f"{name!r} is built by the function {unknown[0]} of its user's code, which a download does not start; if "
            "you know it, say so: nasvit --trust ..., in Python create(..., trust=True)"
        )
    return folder, card


def _is_known(name: str) -> bool:
    """Return whether a name means a network although there is a folder of that name, such as ``resnet18``."""
    try:
        spec_of_name(name)
    except ValueError:
        return False
    return True


def _timm(name: str, image_channels: int) -> Described:
    import timm

    model, _, checkpoint = name.partition(":")
    spec = timm_spec(model, image_channels)
    if checkpoint:
        network: Any = _timm_of_checkpoint(spec, Path(checkpoint))
    else:
        network = timm.create_model(model, in_chans=image_channels, pretrained=True)
    told = network.pretrained_cfg
    mean, deviation = (_for_channels(told[name], image_channels) for name in ("mean", "std"))
    card = Card(
        replace(spec, image_side=told["input_size"][-1]),
        _numbers(network.num_classes),
        mean=mean,
        deviation=deviation,
        origin={"weights": checkpoint or f"timm's own of {model}"},
    )
    return Described(network.eval(), card)


def _for_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Return a value for every channel; where timm made a stem for others of one for three, their mean."""
    return tuple(values) if len(values) == channels else (fmean(values),) * channels


def _timm_of_checkpoint(spec: TimmSpec, checkpoint: Path) -> nn.Module:
    """Return a network of timm with the weights of a file, in which nothing is executed."""
    import timm

    from nasvit.importing.checkpoints import read_weights

    known = spec.build(CLASSES).state_dict()
    state = {key: tensor.load() for key, tensor in read_weights(checkpoint, known).tensors.items()}
    told = timm.get_pretrained_cfg(spec.model)
    names = None if told is None else told.classifier
    classifiers = [f"{each}.bias" for each in ((names,) if isinstance(names, str) else names or ())]
    classes = next((len(state[each]) for each in classifiers if each in state), CLASSES)
    network = spec.build(classes)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{checkpoint} does not hold the weights of timm's {spec.model}: {error}") from error
    return network


def imported_path(name: str) -> Path | None:
    """Return the file of a name of the kind ``FILE.safetensors[:WHICH]``; None for other names."""
    path = Path(name.partition(f"{_IMPORTED}:")[0] + (_IMPORTED if f"{_IMPORTED}:" in name else ""))
    return path if path.suffix == _IMPORTED else None


def _imported(name: str) -> Described:
    from nasvit.importing import describe_imported

    path = imported_path(name)
    assert path is not None
    if not path.is_file():
        raise ValueError(f"network {name!r}: there is no file {path}")
    return describe_imported(path, name.partition(f"{_IMPORTED}:")[2])


def _numbers(classes: int) -> tuple[str, ...]:
    return tuple(map(str, range(classes)))
