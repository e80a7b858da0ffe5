"""Reads what `torch.save` wrote, pickled modules included, without importing or calling anything the file names.

Published weights are often whole pickled networks, whose loading by `torch.load` runs whatever code the file asks for.
Here tensors and containers are built and classes of networks become inert records of their state; any other name
that a file mentions ends the reading.
"""

from __future__ import annotations

import io
import math
import mmap
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor

from yolo.errors import UserError

INERT_PACKAGES = ("models", "utils", "torch.nn", "numpy", "pathlib", "argparse")
"""Their classes and functions are replaced by `Inert`: what networks consist of, and options and scores kept beside."""
INERT_NAMES = {("_codecs", "encode"), ("torch", "device")}
STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
LOCAL_HEADER_SIZE = 30  # of an entry in a zip file, before its name
LONGEST_NAMES = 10_000_000
"""Characters in the names of all modules and tensors of a pickled network; v9-e with both branches has 0.12 million.
A few modules that hold one another can make any number of names."""

Taken = TypeVar("Taken")


class Inert:
    """Stands in for an object of a class that is not imported: takes any arguments, keeps its state, does nothing."""

    __slots__ = ("state",)
    state: Any

    def __new__(cls, *_: object, **__: object) -> Inert:
        """Without state, which `__init__` could not promise: the file decides whether that runs."""
        self = object.__new__(cls)
        self.state = None
        return self

    def __setstate__(self, state: object) -> None:
        self.state = state


class Container(dict[Any, Any]):
    """An ordered dictionary. Attributes that a file sets on one (PyTorch's `_metadata`) are dropped."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Nothing: the entries are all there is."""


class Maker:
    """A function that files may call, closed to the opcode that sets attributes."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        """Call it."""
        return self._function(*args)

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("attributes of a function cannot be set")


def read_pickle(path: Path, take: Callable[[Any], Taken]) -> Taken:
    """What `take` finds in a file written by `torch.save` since PyTorch 1.6.

    Tensors lie in a private mapping of the file, so that parts of it which nobody looks at cost no memory.

    Args:
        path: the file.
        take: given the contents: containers, numbers, tensors and `Inert`s, each of any type in any place. Whatever it
            raises over them is the file's fault.

    Raises:
        UserError: when the file is something else or damaged, or mentions a name that is not harmless.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            contents = _Unpickler(archive, mapped).load()
        check_sums(path)
        return take(contents)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except OSError:
        raise
    except Exception as error:  # unpickling foreign bytes can raise anything
        raise UserError(
            f"{path}: not a readable file of weights: damaged, or not written by torch.save since PyTorch 1.6 "
            f"({type(error).__name__}: {' '.join(str(error).split())})"
        ) from error


def check_sums(path: Path) -> None:
    """Compare what a file written by `torch.save` holds with the check sums in it.

    Raises:
        zipfile.BadZipFile: when an entry is not what was written, or such a file is not written by `torch.save`.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()  # none compressed, none sharing bytes: no more to read than the file has
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise zipfile.BadZipFile("an entry is compressed")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise zipfile.BadZipFile("entries larger than the file")
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"{damaged} differs from its check sum")


def mentions(path: Path, text: str) -> bool:
    """Whether the pickle of a file written by `torch.save` holds this text; False when it is no such file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return text.encode() in archive.read(_pickle_name(archive))
    except (zipfile.BadZipFile, ValueError, RuntimeError, EOFError, struct.error):
        return False


def module_tensors(module: Inert) -> Iterator[tuple[str, Tensor]]:
    """Name and value of every parameter and persistent buffer of a pickled module, as its `state_dict` has them.

    Raises:
        ValueError: when there is no end to them, as in a module that is part of itself.
        AttributeError, TypeError: when it is not in the form of a module.
    """
    characters = 0

    def named(prefix: str, entries: Any) -> Iterator[tuple[str, Any]]:
        nonlocal characters
        for name, value in (entries or {}).items():
            characters += len(prefix) + len(name)
            if characters > LONGEST_NAMES:
                raise ValueError("the pickled network holds too many modules, or itself")
            yield f"{prefix}{name}", value

    waiting = [("", module)]
    while waiting:
        prefix, module = waiting.pop()
        state = module.state if isinstance(module.state, dict) else {}
        transient = state.get("_non_persistent_buffers_set") or ()
        for group in ("_parameters", "_buffers"):
            for name, value in named(prefix, state.get(group)):
                if isinstance(value, Tensor) and name[len(prefix) :] not in transient:
                    yield name, value
        children = list(named(prefix, state.get("_modules")))
        waiting += [(f"{name}.", child) for name, child in reversed(children) if isinstance(child, Inert)]


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, mapped: mmap.mmap) -> None:
        name = _pickle_name(archive)
        super().__init__(io.BytesIO(archive.read(name)))
        self.folder = name.removesuffix("data.pkl")
        self.archive, self.mapped = archive, mapped
        self.storages: dict[str, Tensor] = {}
        self.known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): Container,
            ("torch", "Size"): Maker(tuple),
            ("builtins", "set"): Maker(set),
            ("__builtin__", "set"): Maker(set),
            ("torch._utils", "_rebuild_tensor_v2"): Maker(_tensor),
            ("torch._utils", "_rebuild_parameter"): Maker(_first),
            ("torch._utils", "_rebuild_parameter_with_state"): Maker(_first),
            ("torch._tensor", "_rebuild_from_type_v2"): Maker(_call_first),
        }

    def find_class(self, module: str, name: str) -> Any:
        """Never imports: a known maker, a type of storage, a new inert class, or the end of the reading."""
        key = (module, name)
        if key not in self.known:
            if module == "torch" and name in STORAGES:
                self.known[key] = STORAGES[name]
            elif _is_inert(module, name):
                self.known[key] = type("Inert", (Inert,), {"__slots__": ()})
            else:
                raise UserError(
                    f"refused, since it asks for {module}.{name}: a file of weights may hold tensors, numbers and "
                    "containers, and nothing of it was run"
                )
        return self.known[key]

    def persistent_load(self, pid: Any) -> Tensor:
        """The flat tensor over all of a storage, from what `torch.save` writes in its place."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("a reference to something that is no storage")
        if key not in self.storages:
            self.storages[key] = self._map(self.archive.getinfo(f"{self.folder}data/{key}"), dtype, count)
        return self.storages[key]

    def _map(self, entry: zipfile.ZipInfo, dtype: torch.dtype, count: int) -> Tensor:
        if entry.compress_type != zipfile.ZIP_STORED or not 0 <= count * dtype.itemsize <= entry.file_size:
            raise pickle.UnpicklingError(f"storage {entry.filename} is not {count} plain values of {dtype}")
        if count == 0:
            return torch.empty(0, dtype=dtype)
        header = self.mapped[entry.header_offset : entry.header_offset + LOCAL_HEADER_SIZE]
        name_length, extra_length = struct.unpack("<HH", header[-4:])
        start = entry.header_offset + LOCAL_HEADER_SIZE + name_length + extra_length
        return torch.frombuffer(self.mapped, dtype=dtype, count=count, offset=start)


def _is_inert(module: str, name: str) -> bool:
    if module == "torch" and isinstance(vars(torch).get(name), torch.dtype):
        return True
    return (module, name) in INERT_NAMES or any(
        module == package or module.startswith(f"{package}.") for package in INERT_PACKAGES
    )


def _pickle_name(archive: zipfile.ZipFile) -> str:
    names = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(names) != 1:
        raise ValueError("no pickled data in it")
    if archive.getinfo(names[0]).compress_type != zipfile.ZIP_STORED:  # PyTorch never compresses; a bomb would
        raise ValueError("its pickled data is compressed")
    return names[0]


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    """A view of the storage. as_strided refuses what reaches beyond its end."""
    tensor = torch.as_strided(storage, size, stride, offset)
    if math.prod(size) > storage.numel():
        raise pickle.UnpicklingError("a tensor with more values than its storage")
    return tensor


def _first(value: Any, *_: object) -> Any:
    return value


def _call_first(function: Any, _: object, args: Any, *__: object) -> Any:
    return function(*args)
