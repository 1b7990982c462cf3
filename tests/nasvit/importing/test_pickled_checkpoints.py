"""Reading checkpoint files without executing anything in them."""

from __future__ import annotations

import argparse
import functools
import os
import pickle
import struct
import sys
import tracemalloc
import types
import warnings
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasvit.importing.checkpoints import read_weights
from nasvit.importing.pickles import CheckpointError, read_pickled

FORMATS = pytest.mark.parametrize("today", [True, False], ids=["zip", "before-1.6"])


class _Hostile:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def save(content: Any, path: Path, *, today: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=today)
    return path


@FORMATS
def test_tensors_of_every_layout_come_back_as_they_were(tmp_path: Path, today: bool) -> None:
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    tensors = {
        "plain": base,
        "slice": base[:, 1:, ::2],
        "turned": base.permute(2, 0, 1),
        "expanded": torch.ones(1).expand(5, 5),
        "scalar": torch.tensor(3, dtype=torch.int64),
        "half": base.to(torch.bfloat16),
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(base),
    }
    read = read_weights(save(tensors, tmp_path / "weights.pth", today=today), tensors).tensors
    for name, tensor in tensors.items():
        assert read[name].shape == tuple(tensor.shape)
        loaded = read[name].load()
        assert loaded.dtype == tensor.dtype and loaded.is_contiguous()
        assert torch.equal(loaded, tensor.detach()), name


@FORMATS
def test_a_file_that_would_run_a_command_is_refused_and_nothing_runs(tmp_path: Path, today: bool) -> None:
    mark = tmp_path / "mark"
    path = save({"w": torch.ones(2), "x": _Hostile(os.system, f"touch {mark}")}, tmp_path / "evil.pth", today=today)
    with pytest.raises(CheckpointError, match=r"evil\.pth: it asks to call posix\.system.*nothing was run"):
        read_pickled(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "hostile",
    [
        _Hostile(eval, "open('mark', 'w')"),
        _Hostile(exec, "open('mark', 'w')"),
        _Hostile(getattr, "text", "upper"),
        _Hostile(pickle.loads, pickle.dumps(1)),
        _Hostile(torch.load, "mark"),
        _Hostile(open, "mark", "w"),
        _Hostile(functools.reduce, max, [1, 2]),
    ],
    ids=["eval", "exec", "getattr", "loads", "load", "open", "reduce"],
)
def test_every_call_that_tensors_do_not_need_is_refused(
    tmp_path: Path, hostile: _Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = save([torch.ones(2), hostile], tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="asks to call"):
        read_pickled(path)
    assert not (tmp_path / "mark").exists()


def test_a_hostile_pickle_that_is_no_checkpoint_at_all_is_refused_too(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(_Hostile(os.system, f"touch {mark}"), protocol=0))
    with pytest.raises(CheckpointError, match="asks to call"):
        read_pickled(path)
    assert not mark.exists()


def test_a_stand_in_keeps_its_data_and_runs_no_code_of_its_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CfgNode(dict[str, Any]):
        def __setstate__(self, state: Any) -> None:
            raise AssertionError("code of the class ran")

    module = types.ModuleType("yacs.config")
    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    module.CfgNode = CfgNode  # type: ignore[attr-defined]
    config = CfgNode(LR=0.1)
    config.frozen = True  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
        patch.setitem(sys.modules, "yacs.config", module)
        path = save({"model": {"w": torch.ones(3)}, "config": config}, tmp_path / "release.pth")
    assert "yacs" not in sys.modules
    assert dict(read_pickled(path)["config"]) == {"LR": 0.1}


@pytest.mark.parametrize("protocol", [2, 4])
@FORMATS
def test_parsed_arguments_beside_the_weights_do_no_harm(tmp_path: Path, today: bool, protocol: int) -> None:
    content = {
        "args": argparse.Namespace(rate=0.1, names=["a"]),
        "state_dict": {"w": torch.arange(6.0).reshape(2, 3).T},
    }
    path = tmp_path / "release.pth"
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=today)
    read = read_weights(path, {"w"})
    assert read.part == "state_dict"
    assert torch.equal(read.tensors["w"].load(), content["state_dict"]["w"])
    assert not isinstance(read_pickled(path)["args"], argparse.Namespace)


@FORMATS
def test_what_trainings_keep_beside_the_weights_does_no_harm(tmp_path: Path, today: bool) -> None:
    beside = {
        "milestones": Counter([3, 3]),
        "seen": {1, 2},
        "by": defaultdict(list, a=[1]),
        "device": torch.device("cpu"),
    }
    path = save(
        {"epoch": 3, "state_dict": OrderedDict(w=torch.ones(3)), **beside}, tmp_path / "weights.pth", today=today
    )
    assert torch.equal(read_weights(path, {"w"}).tensors["w"].load(), torch.ones(3))


@pytest.mark.parametrize(
    "program",
    [
        b"cfoo\nbar\nNr\x00\x00\x00\x10}.",  # an index of 2^28, for which the unpickler in C makes room
        b"c__builtin__\nbytearray\n\x8a\x05\x00\x00\x00\x00\x02\x85R.",  # bytearray(2**33), which PyTorch admits
        b"ctorch\nFloatTensor\n\x8a\x05\x00\x00\x00\x00\x02\x85R.",
        b"cfoo\nbar\n\x8e\x00\x00\x00\x00\x02\x00\x00\x00.",  # text of 2^33 bytes
    ],
    ids=["index", "bytearray", "tensor", "bytes"],
)
def test_a_small_pickle_gets_little_memory(tmp_path: Path, program: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(CheckpointError):
        read_weights(archive(tmp_path / "evil.pth", data_pkl=b"\x80\x04" + program, version=b"3"), {"w"})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**24


def test_a_small_file_claims_no_large_tensors_and_is_not_compressed(tmp_path: Path) -> None:
    huge = torch.ones(1).as_strided((2**17, 2**17), (0, 0))
    with pytest.raises(CheckpointError, match=r"has 1,\d+ bytes and claims to hold tensors of 68,719,476,736"):
        read_weights(save({"w": huge}, tmp_path / "huge.pth"), {"w"})
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", bytes(2**20))
    with pytest.raises(CheckpointError, match="its parts are compressed or larger than the file"):
        read_pickled(tmp_path / "bomb.pth")


@FORMATS
def test_reading_warns_of_nothing(tmp_path: Path, today: bool) -> None:
    path = tmp_path / "release.pth"
    content = {"args": argparse.Namespace(), "w": torch.ones(3)}
    torch.save(content, path, pickle_protocol=4, _use_new_zipfile_serialization=today)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_weights(path, {"w"}).tensors["w"].load()


def archive(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(f"archive/{name.replace('_', '.')}", content)
    return path


def test_a_pickle_cannot_change_the_functions_that_it_names(tmp_path: Path) -> None:
    named, state = b"ctorch._utils\n_rebuild_tensor_v2\n", b"N}X\x0c\0\0\0__defaults__X\x04\0\0\0mine\x85s\x86"
    path = archive(tmp_path / "evil.pth", data_pkl=b"\x80\x02" + named + state + b"b.", version=b"3")
    before = torch._utils._rebuild_tensor_v2.__defaults__
    with pytest.raises(CheckpointError, match=r"evil\.pth"):
        read_pickled(path)
    assert torch._utils._rebuild_tensor_v2.__defaults__ == before


def test_numpy_scalars_beside_the_weights_do_no_harm(tmp_path: Path) -> None:
    content = {"best": np.float64(81.2), "epoch": np.int64(3), "state_dict": {"w": torch.ones(3)}}
    path = save(content, tmp_path / "release.pth")
    assert torch.equal(read_weights(path, {"w"}).tensors["w"].load(), torch.ones(3))


@FORMATS
def test_a_truncated_file_is_named_as_such(tmp_path: Path, today: bool) -> None:
    path = save({"w": torch.randn(1000)}, tmp_path / "weights.pth", today=today)
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(CheckpointError, match="truncated"):
        read_weights(path, {"w"}).tensors["w"].load()


@pytest.mark.parametrize("beside", [None, np.float64(1.0)], ids=["alone", "beside numpy"])
def test_a_number_that_changed_in_the_file_is_noticed(tmp_path: Path, beside: Any) -> None:
    path = save({"w": torch.full((100,), 3.25), "beside": beside}, tmp_path / "weights.pth")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(struct.pack("<f", 3.25), struct.pack("<f", 3.5), 1))
    with pytest.raises(CheckpointError, match=r"weights\.pth is truncated or damaged \(.*data/0"):
        read_pickled(path)


def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "program.pt", data_pkl=pickle.dumps({}, 2), constants_pkl=pickle.dumps((), 2))
    with pytest.raises(CheckpointError, match=r"program\.pt: it is a TorchScript program, which runs code"):
        read_pickled(path)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04 no zip"])
def test_a_file_of_another_format_is_named_as_such(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"weights\.pth.*(no checkpoint|truncated)"):
        read_pickled(path)


@FORMATS
@pytest.mark.parametrize("beside", [None, np.float64(1.0)], ids=["alone", "beside numpy"])
def test_a_tensor_that_reaches_outside_its_storage_is_refused(tmp_path: Path, today: bool, beside: Any) -> None:
    storage = torch.ones(4).untyped_storage()
    outside = _Hostile(
        torch._utils._rebuild_tensor_v2,
        torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True),
        2,
        (4,),
        (1,),
        False,
        OrderedDict(),
    )
    path = save({"w": outside, "beside": beside}, tmp_path / "weights.pth", today=today)
    with pytest.raises(CheckpointError, match=r"weights\.pth is no checkpoint of PyTorch, or truncated or damaged"):
        read_weights(path, {"w"}).tensors["w"].load()


def test_averaged_weights_go_before_others_and_prefixes_are_dropped(tmp_path: Path) -> None:
    content = {
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}},
        "model": {"module.w": torch.zeros(3)},
        "model_ema": {"module.module.w": torch.ones(3)},
    }
    found = read_weights(save(content, tmp_path / "release.pth"), {"w"})
    assert found.part == "model_ema"
    assert torch.equal(found.tensors["w"].load(), torch.ones(3))


def test_averaged_weights_of_something_else_are_passed_over(tmp_path: Path) -> None:
    content = {"state_dict": {"w": torch.ones(3)}, "loss_ema": {"mean": torch.zeros(1)}}
    assert read_weights(save(content, tmp_path / "release.pth"), {"w"}).part == "state_dict"


def test_a_file_without_tensors_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no state dict"):
        read_weights(save({"epoch": 3}, tmp_path / "release.pth"), {"w"})
    with pytest.raises(CheckpointError, match="there is no file"):
        read_weights(tmp_path / "absent.pth", {"w"})


@FORMATS
def test_a_damaged_file_is_read_or_refused_but_never_crashes_the_reader(tmp_path: Path, today: bool) -> None:
    path = save({"model": {"w": torch.randn(4, 3), "b": torch.randn(3)}}, tmp_path / "weights.pth", today=today)
    whole, generator = path.read_bytes(), np.random.default_rng(3)
    for _ in range(100):
        damaged = bytearray(whole)
        for place in generator.integers(len(whole), size=3):
            damaged[place] = generator.integers(256)
        path.write_bytes(damaged[: generator.integers(1, 2 * len(whole))])
        try:
            for tensor in read_weights(path, {"w"}).tensors.values():
                tensor.load()
        except CheckpointError as error:
            assert path.name in str(error) or "stored numbers" in str(error)  # noqa: PT017 - most damage is harmless
