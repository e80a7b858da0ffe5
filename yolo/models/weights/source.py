"""What a file of weights holds: of which network, in whose naming, for how many classes, under our names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from yolo.errors import UserError
from yolo.models.registry import MODELS, build_model
from yolo.models.weights.files import read_tensors, require_distinct
from yolo.models.weights.layouts import LAYOUTS, OURS, our_name, our_value

LEAST_FIT = 0.5  # files of another kind of network fit in a few small tensors by chance


@dataclass(frozen=True, eq=False)
class Source:
    """A file's tensors under our names."""

    path: Path
    """The file."""
    architecture: str | None
    """Name of the registry, None for a network of the user's own."""
    layout: str
    """`ours`, or the key of `LAYOUTS` whose naming the file has."""
    tensors: Mapping[str, Tensor]
    """By our names."""
    unplaced: tuple[str, ...] = ()
    """Names in the file that stand for nothing in the architecture."""

    @property
    def classes(self) -> int | None:
        """Number of classes, None when there is no class branch."""
        last = self.tensors.get("head.cls.0.2.weight")
        return None if last is None else len(last)

    @property
    def class_width(self) -> int | None:
        """Channels inside the main class branch, None when there is no class branch."""
        first = self.tensors.get("head.cls.0.0.conv.weight")
        return None if first is None else len(first)

    @property
    def has_auxiliary(self) -> bool:
        """Whether it has the branch that exists for training."""
        return any(name.startswith("auxiliary.") for name in self.tensors)


def open_source(path: str | Path, architecture: str | None = None) -> Source:
    """Read a file and find out what it holds.

    Args:
        path: file of any kind that `files.read_tensors` reads.
        architecture: name of the registry that the weights must be of; None takes what fits best.

    Raises:
        UserError: when the file cannot be read, fits no network, fits another one better than that asked for, has two
            tensors for one of ours, or a class branch of another form.
    """
    tensors = read_tensors(path)
    wanted = [architecture] if architecture is not None else []
    candidates = [(name, layout) for name in dict.fromkeys([*wanted, *MODELS]) for layout in (OURS, *LAYOUTS[name])]
    best, most = candidates[0], 0
    for candidate in candidates:
        fits = sum(_fits(*candidate, name, tensor) for name, tensor in tensors.items())
        if fits > most:  # the one asked for comes first and wins a tie
            best, most = candidate, fits
        if fits == len(tensors):
            break
    if most < LEAST_FIT * len(tensors):
        found, expected = some(tensors), some(_shapes(best[0]))
        raise UserError(
            f"{path}: only {most} of its {len(tensors)} tensors fit {architecture or 'a network of ours'}: "
            f"found {found}, expected {expected}, or the names of WongKinYiu/yolov9 or WongKinYiu/YOLO"
        )
    if architecture not in (None, best[0]):
        raise UserError(
            f"{path}: holds weights of {best[0]} ({most} of {len(tensors)} tensors fit), which are of no use to "
            f"{architecture}"
        )
    return _renamed(Path(path), *best, tensors)


def open_own(path: str | Path) -> Source:
    """A file for a network of the user's own, whose names are its own."""
    return Source(Path(path), None, OURS, read_tensors(path))


def _renamed(path: Path, architecture: str, layout: str, tensors: Mapping[str, Tensor]) -> Source:
    translated = {name: _translate(architecture, layout, name) for name in tensors}
    placed = {name: ours for name, ours in translated.items() if ours is not None}
    # the bins of the distribution, a constant, are there once for every level in files of the rewrite
    once = {name: ours for name, ours in placed.items() if not ours.endswith("head.bins")}
    require_distinct(path, once, once.values())
    values = {ours: our_value(ours, tensors[name]) for name, ours in placed.items()}
    for name, expected in _shapes(architecture).items():
        if "head.cls." in name and name in values and (values[name].ndim != len(expected) or 0 in values[name].shape):
            raise UserError(f"{path}: {name} has shape {list(values[name].shape)}, expected one like {list(expected)}")
    unplaced = tuple(name for name, ours in translated.items() if ours is None)
    return Source(path, architecture, layout, values, unplaced)


def _translate(architecture: str, layout: str, name: str) -> str | None:
    return name.removeprefix("model.") if layout == OURS else our_name(name, LAYOUTS[architecture][layout])


def _fits(architecture: str, layout: str, name: str, tensor: Tensor) -> bool:
    """Whether a tensor has a place in the network, where those of class branches may have any width."""
    ours = _translate(architecture, layout, name)
    expected = _shapes(architecture).get(ours) if ours is not None else None
    if ours is None or expected is None:
        return False
    value = our_value(ours, tensor)
    return value.ndim == len(expected) if "head.cls." in ours else value.shape == expected


@cache
def _shapes(architecture: str) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in build_model(architecture, 80).state_dict().items()}


def some(names: Iterable[str]) -> str:
    """The first three, for a sentence."""
    return ", ".join(islice(names, 3))
