"""Files of weights: named tensors out of any kind of file that holds them, and safetensors files written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from yolo.errors import UserError
from yolo.models.checkpoint import CARD_KEY, network_tensors, read_checkpoint
from yolo.models.weights.pickles import Inert, mentions, module_tensors, read_pickle

WRAPPERS = re.compile(r"^(?:(?:module|_orig_mod)\.)+")  # names put in front by DataParallel and torch.compile
HOLDERS = ("ema", "model", "state_dict")
"""Where files keep their network, best first: the averaged weights are those that were measured."""


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """All tensors of the network in a file, under the file's own names, on the CPU.

    Reads safetensors files, checkpoints of `yolo fit` (of those, the averaged weights), state dicts and pickled
    networks written by `torch.save`, the latter two bare or as an entry of a dictionary.

    Raises:
        UserError: when the file is missing, something else, damaged, without tensors, or wants to run code.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file of weights")
    if path.suffix == ".safetensors":
        tensors = _read_safetensors(path)
    elif mentions(path, CARD_KEY):
        tensors = _tensors_of(network_tensors(read_checkpoint(path)))
    else:
        tensors = read_pickle(path, _network_of)
    if not tensors:
        raise UserError(f"{path}: holds no tensors of a network")
    names = [WRAPPERS.sub("", name) for name in tensors]
    require_distinct(path, tensors, names)
    return dict(zip(names, tensors.values(), strict=True))


def require_distinct(path: Path, names: Iterable[str], meanings: Iterable[str]) -> None:
    """UserError when two of the names in a file mean the same, that at their place in `meanings`."""
    first: dict[str, str] = {}
    for name, meaning in zip(names, meanings, strict=True):
        if first.setdefault(meaning, name) != name:
            raise UserError(f"{path}: {first[meaning]} and {name} both stand for {meaning}, expected one of them")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, complete or not at all. UserError when it is not called .safetensors or cannot be."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder, expected the name of a file to write")
    if path.suffix != ".safetensors":
        raise UserError(f"{path}: expected a name that ends in .safetensors")
    unfinished = path.with_name(f"{path.name}.partial")
    # tensors out of one file may share memory or be views, which safetensors does not write
    copies = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.touch()
            mode = unfinished.stat().st_mode  # as the user's other files; safetensors writes for the owner alone
            save_file(copies, unfinished, dict(metadata))
            unfinished.chmod(mode)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: could not be written ({error})") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from error


def _network_of(contents: Any) -> dict[str, Tensor]:
    held = [contents.get(holder) for holder in HOLDERS] if isinstance(contents, Mapping) else []
    return next((tensors for value in (*held, contents) if (tensors := _tensors_of(value))), {})


def _tensors_of(value: Any) -> dict[str, Tensor]:
    if isinstance(value, Inert):
        return dict(module_tensors(value))
    if isinstance(value, Mapping):
        return {str(name): tensor for name, tensor in value.items() if isinstance(tensor, Tensor)}
    return {}
