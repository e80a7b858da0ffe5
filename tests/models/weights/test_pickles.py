"""Nothing in a file runs: hostile pickles of every kind are refused or read as inert records, and leave no trace."""

from __future__ import annotations

import functools
import io
import operator
import os
import pickle
import shutil
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.weights.official import official, save_official
from yolo.errors import UserError
from yolo.models.weights import pickles
from yolo.models.weights.files import read_tensors
from yolo.models.weights.pickles import Inert, mentions, module_tensors, read_pickle

MARKER = "MARKER"
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\x00K\x04\x85K\x01\x85\x89NtR"
COMMAND = f"touch {MARKER}"


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder with modules that leave a marker when imported; no marker may be there in the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for package in ("models", "utils"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(f"open({MARKER!r}, 'w')")
        (tmp_path / package / "common.py").write_text(f"open({MARKER!r}, 'w')")
    yield
    assert not (tmp_path / MARKER).exists()
    assert "models" not in sys.modules


def write(pickled: bytes, path: str = "x.pt", **storages: bytes) -> Path:
    """A file as `torch.save` lays it out, around any pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key.removeprefix('s')}", content)
    return Path(path)


def contents(path: Path) -> Any:
    return read_pickle(path, lambda contents: contents)


def refusal(pickled: bytes) -> str:
    with pytest.raises(UserError) as error:
        contents(write(pickled))
    assert "\n" not in str(error.value)
    return str(error.value)


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.called = (function, arguments)

    def __reduce__(self) -> Any:
        return self.called


class Poison(nn.Module):
    """A module whose state holds something."""

    def __init__(self, inside: Any) -> None:
        super().__init__()
        self.inside = inside
        self.register_buffer("fine", torch.ones(2))


HOSTILE = {
    "os.system": Calls(os.system, COMMAND),
    "eval": Calls(eval, f"open({MARKER!r}, 'w')"),
    "exec": Calls(exec, f"open({MARKER!r}, 'w')"),
    "open": Calls(open, MARKER, "w"),
    "getattr": Calls(getattr, "text", "upper"),
    "import": Calls(__import__, "models.common"),
    "partial": functools.partial(os.system, COMMAND),
    "partial called": Calls(Calls, functools.partial(os.system, COMMAND)),
    "attrgetter": Calls(operator.attrgetter, "__globals__"),
    "map": Calls(list, Calls(map, os.system, [COMMAND])),
    "torch.load": Calls(torch.load, "x.pt"),
    "bytes of a storage": Calls(torch.storage._load_from_bytes, b""),
    "hub": Calls(torch.hub.load, "somebody/something", "model"),
    "class of ours": Inert(),
    "path": Calls(shutil.rmtree, "models"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("nested", [False, True])
def test_whatever_calls_something_is_refused_by_name(name: str, protocol: int, nested: bool) -> None:
    value: Any = {"model": [1, {"deep": HOSTILE[name]}]} if nested else HOSTILE[name]
    sentence = refusal(pickle.dumps(value, protocol))
    assert sentence.startswith("x.pt: refused, since it asks for ")
    assert "nothing of it was run" in sentence


@pytest.mark.parametrize(
    ("pickled", "name"),
    [
        (b"cos\nsystem\n(S'touch MARKER'\ntR.", "os.system"),
        (b"(S'touch MARKER'\nios\nsystem\n.", "os.system"),
        (b"(cos\nsystem\nS'touch MARKER'\no.", "os.system"),
        (b"c__builtin__\ngetattr\n(c__builtin__\n__import__\n(S'os'\ntRS'system'\ntR(S'touch MARKER'\ntR.", "getattr"),
        (b"\x80\x04cmodels\nM\n)R}(X\x01\x00\x00\x00a\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85Rub.", "os.system"),
        (b"\x80\x04ccollections\nOrderedDict\n]\x8c\x01kcposix\nsystem\n\x86a\x85R.", "posix.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x11eval.__self__.run\x93.", r"builtins.eval.__self__.run"),
        (b"ctorch._utils\n_rebuild_wrapper_subclass\n.", "torch._utils._rebuild_wrapper_subclass"),
        (b"ccollections\ndefaultdict\n(cos\nsystem\ntR.", "collections.defaultdict"),
    ],
)  # fmt: skip
def test_opcodes_that_call(pickled: bytes, name: str) -> None:
    assert f"asks for {name}" in refusal(pickled).replace("__builtin__.", "")


def test_in_the_state_of_a_pickled_network() -> None:
    save_official(nn.Sequential(Poison("harmless")), Path("x.pt"))
    with pytest.raises(UserError, match=r"asks for tests\.models\.weights\.test_pickles\.Poison"):
        read_tensors("x.pt")
    save_official(nn.Sequential(Poison(Calls(os.system, COMMAND))), Path("x.pt"), Poison)
    save_official(nn.Sequential(Poison("harmless")), Path("y.pt"), Poison)
    with pytest.raises(UserError, match=r"asks for (posix|nt)\.system"):
        read_tensors("x.pt")
    assert list(read_tensors("y.pt")) == ["0.fine"]


def test_stand_ins_take_calls_and_state_and_do_nothing() -> None:
    call = b"\x80\x02cmodels.common\nConv\n(X\x05\x00\x00\x00touchtR."  # Conv("touch")
    assert isinstance(contents(write(call)), Inert)
    new = b"\x80\x02cutils.common\nrun\n(X\x05\x00\x00\x00touchtR}X\x01\x00\x00\x00aK\x01sb."
    assert contents(write(new)).state == {"a": 1}
    dotted = b"\x80\x04\x8c\x0dmodels.common\x8c\x1fConv.__init__.__globals__.systemX)\x81."
    with pytest.raises(UserError):
        contents(write(dotted))


@pytest.mark.parametrize(
    ("target", "kept"),
    [(b"cmodels.common\nConv\n)R", True), (b"cmodels.common\nConv\n", False), (b"ctorch\nSize\n", False),
     (b"ctorch._utils\n_rebuild_tensor_v2\n", False), (b"ccollections\nOrderedDict\n", False),
     (b"ccollections\nOrderedDict\n)R", True), (b"ctorch\nFloatStorage\n", False), (b"cbuiltins\nset\n)R", False)],
)  # fmt: skip
@pytest.mark.parametrize("attribute", [b"__class__", b"__dict__", b"__setstate__", b"__code__", b"_function", b"items"])
def test_build_replaces_nothing(target: bytes, kept: bool, attribute: bytes) -> None:
    key = b"X" + len(attribute).to_bytes(4, "little") + attribute
    before = {name: vars(value).copy() for name, value in vars(pickles).items() if isinstance(value, type)}
    for state in (b"}" + key + b"cmodels\nX\ns", b"N}" + key + b"cmodels\nX\ns\x86"):  # instance, then slots
        pickled = b"\x80\x02" + target + state + b"b."
        if kept:
            value = contents(write(pickled))
            assert isinstance(value, Inert | pickles.Container)
            assert not isinstance(value, dict) or value == {}
        else:
            assert "x.pt: not a readable file of weights" in refusal(pickled)
    for name, attributes in before.items():
        assert vars(getattr(pickles, name)) == attributes


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02\x82\x01.",  # a registered extension
        b"\x80\x02K\x01Q.",  # a reference that is a number
        b"\x80\x02(X\x06\x00\x00\x00modulecmodels\nM\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ.",
        b"\x80\x02(X\x07\x00\x00\x00storageX\x05\x00\x00\x00floatX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ.",
        b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x001X\x03\x00\x00\x00cpuK\x01tQ.",
        b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x09tQ.",
        b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ\xff\xff\xff\xfftQ.",
        b"\x80\x02]q\x00h\x00a",  # no end
        b"garbage",
    ],
)  # fmt: skip
def test_broken_pickles_are_sentences(pickled: bytes) -> None:
    write(pickled, s0=b"\0" * 16)
    with pytest.raises(UserError, match="not a readable file of weights"):
        contents(Path("x.pt"))


@pytest.mark.parametrize(
    ("size", "stride", "offset"), [((5,), (1,), 0), ((2,), (1,), 3), ((2,), (-1,), 1), ((9,), (0,), 0)]
)
def test_tensors_stay_within_their_storage(size: tuple, stride: tuple, offset: int) -> None:
    def arguments(*values: Any) -> bytes:
        return b"".join(pickle.dumps(value, 2)[2:-1].replace(b"q\x00", b"") for value in values)

    pickled = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + arguments(offset, size, stride) + b"\x89NtR."
    write(pickled, s0=b"\0" * 16)
    with pytest.raises(UserError, match="not a readable file of weights"):
        contents(Path("x.pt"))


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def module(**state: bytes) -> bytes:
    return b"cmodels\nM\n)R}(" + b"".join(text(name) + value for name, value in state.items()) + b"ub"


def test_a_chain_of_modules_without_end_is_a_sentence() -> None:
    loop = b"\x80\x02cmodels\nM\n)Rq\x00}" + text("_modules") + b"}" + text("a") + b"h\x00ssb."
    with pytest.raises(UserError, match="too many modules, or itself"):
        read_tensors(write(loop))


def test_modules_that_share_modules_are_read_as_often_as_named_and_not_for_ever() -> None:
    def doubling(levels: int) -> bytes:
        inner = module(_buffers=b"}" + text("x") + TENSOR + b"s")
        for level in range(levels):
            memo = b"q" + bytes([level])
            inner = module(_modules=b"}(" + text("a") + inner + memo + text("b") + b"h" + memo[1:] + b"u")
        return b"\x80\x02" + inner + b"."

    assert list(read_tensors(write(doubling(2), s0=b"\0" * 16))) == ["a.a.x", "a.b.x", "b.a.x", "b.b.x"]
    start = time.process_time()
    with pytest.raises(UserError, match="too many modules"):
        read_tensors(write(doubling(22), s0=b"\0" * 16))
    assert time.process_time() - start < 5


def test_modules_nested_deeply() -> None:
    inner = module(_buffers=b"}" + text("x") + TENSOR + b"s")
    for _ in range(3000):
        inner = module(_modules=b"}" + text("a") + inner + b"s")
    assert list(read_tensors(write(b"\x80\x02" + inner + b".", s0=b"\0" * 16))) == ["a." * 3000 + "x"]


@pytest.mark.parametrize("group", ["_parameters", "_buffers", "_modules"])
@pytest.mark.parametrize("value", [b"]K\x01a", b"K\x01", b"}K\x01K\x01s"], ids=["list", "number", "name a number"])
def test_modules_of_another_form_are_sentences(group: str, value: bytes) -> None:
    with pytest.raises(UserError, match=r"x\.pt: not a readable file of weights"):
        read_tensors(write(b"\x80\x02" + module(**{group: value}) + b"."))


def test_bytes_that_were_changed_are_noticed() -> None:
    torch.save({"a": torch.zeros(10_000)}, "x.pt")
    damaged = bytearray(Path("x.pt").read_bytes())
    damaged[20_000:21_000] = b"\x01" * 1000
    Path("x.pt").write_bytes(damaged)
    with pytest.raises(UserError, match=r"x\.pt: not a readable file .*x/data/0 differs from its check sum"):
        read_tensors("x.pt")


def test_no_more_is_checked_than_the_file_holds() -> None:
    with zipfile.ZipFile("x.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", b"\0" * 10_000, zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="an entry is compressed"):
        contents(Path("x.pt"))
    with zipfile.ZipFile("x.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", b"\0" * 10_000)
        archive.filelist += [archive.filelist[-1]] * 9  # the same bytes ten times
    with pytest.raises(UserError, match="entries larger than the file"):
        contents(Path("x.pt"))


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x02}q\x00.", b"PK\x03\x04broken"])
def test_something_else_is_a_sentence(content: bytes) -> None:
    Path("x.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.pt: not a readable file of weights"):
        read_tensors("x.pt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compressed_and_torchscript_archives_are_refused() -> None:
    with zipfile.ZipFile("x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}." + b"\0" * 10_000)
    with pytest.raises(UserError, match="pickled data is compressed"):
        contents(Path("x.pt"))
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), "y.pt")
    with pytest.raises(UserError, match=r"asks for __torch__"):
        contents(Path("y.pt"))


def test_tensors_of_every_kind_come_back_equal() -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tensors: dict[str, Any] = {
        "view": base[1:3, ::2], "transposed": base.T, "whole": base, "scalar": torch.tensor(3),
        "empty": torch.empty(0, 3), "parameter": nn.Parameter(torch.randn(2, 2)),
        **{str(dtype): torch.ones(3).to(dtype) for dtype in pickles.STORAGES.values()},
    }  # fmt: skip
    tensors["annotated"] = nn.Parameter(torch.ones(2))
    tensors["annotated"].note = "a parameter with an attribute"
    torch.save({"tensors": tensors, "size": base.shape, "dtype": torch.half, "set": {1}}, "x.pt")
    read = contents(Path("x.pt"))
    assert read["size"] == (4, 6)
    assert read["set"] == {1}
    for name, tensor in tensors.items():
        found = read["tensors"][name]
        assert found.dtype == tensor.dtype, name
        assert torch.equal(found, tensor), name
    assert read["tensors"]["view"].data_ptr() != read["tensors"]["scalar"].data_ptr()


def test_module_state_is_its_state_dict() -> None:
    network = official("v9-t", dual=True).half()
    network.model[0].register_buffer("transient", torch.ones(1), persistent=False)
    save_official(network, Path("x.pt"))
    read: dict[str, Tensor] = dict(read_pickle(Path("x.pt"), lambda contents: module_tensors(contents["model"])))
    expected = network.state_dict()
    assert list(read) == list(expected)
    assert all(torch.equal(read[name], expected[name]) for name in expected)


def test_what_is_read_can_be_changed_without_changing_the_file() -> None:
    torch.save({"a": torch.zeros(4)}, "x.pt")
    contents(Path("x.pt"))["a"].fill_(1)
    assert torch.equal(contents(Path("x.pt"))["a"], torch.zeros(4))


def test_mentions() -> None:
    torch.save({"yolo_card": 1}, "x.pt")
    assert mentions(Path("x.pt"), "yolo_card")
    assert not mentions(Path("x.pt"), "something")
    Path("y.pt").write_bytes(b"yolo_card")
    assert not mentions(Path("y.pt"), "yolo_card")
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").writestr("notes.txt", "yolo_card")
    Path("z.pt").write_bytes(buffer.getvalue())
    assert not mentions(Path("z.pt"), "yolo_card")
