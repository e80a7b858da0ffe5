"""Weights of a file put into a network, and the report of what became of every tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from yolo.errors import UserError
from yolo.models.checkpoint import NetworkSpec
from yolo.models.detection_model import DetectionModel
from yolo.models.registry import MODELS
from yolo.models.weights.source import Source, open_own, open_source, some

SHOWN = 6  # names of a list on the screen


@dataclass(frozen=True)
class LoadReport:
    """What became of the tensors of a file and of those of the network."""

    title: str
    """File, architecture, naming and class count."""
    loaded: tuple[str, ...]
    """Tensors of the network that now have the file's values."""
    skipped: Mapping[str, str]
    """Tensors of the file that were left out, and why; the network's of that name keep their fresh values."""
    missing: tuple[str, ...]
    """Tensors of the network that the file does not have; they keep their fresh values."""

    def lines(self, shown: int | None = None) -> list[str]:
        """The report as text; with `shown`, lists longer than that are cut, and say by how much."""
        skipped = [f"{name} ({why})" for name, why in self.skipped.items()]
        lines = [f"weights: {self.title}", f"  loaded  {len(self.loaded):>5} tensors"]
        for label, names in (("skipped", skipped), ("missing", list(self.missing))):
            cut = names[:shown]
            lines.append(f"  {label} {len(names):>5} tensors")
            lines += [f"    {name}" for name in cut]
            if len(cut) < len(names):
                lines.append(f"    and {len(names) - len(cut)} more")
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines(SHOWN))


def load_network(
    spec: NetworkSpec, num_classes: int, path: str | Path
) -> tuple[NetworkSpec, DetectionModel, LoadReport]:
    """Build a network and start it from a file's weights.

    The class branch has the file's width unless `spec` says one; then the returned spec says it too. Tensors whose
    shape depends on the number of classes are left fresh where that differs.

    Raises:
        UserError: when the file cannot be read or is of another network; see `source.open_source`.
    """
    if spec.name not in MODELS:
        network = spec.build(num_classes)
        return spec, network, fill(network, open_own(path))
    source = open_source(path, spec.name)
    if spec.class_width is None and source.class_width not in (None, _default_width(spec, num_classes)):
        spec = replace(spec, class_width=source.class_width)
    network = spec.build(num_classes)
    return spec, network, fill(network, source)


@torch.no_grad()
def fill(network: DetectionModel, source: Source) -> LoadReport:
    """Copy every tensor of the source that the network has in the same shape and kind of number, in place.

    Raises:
        UserError: when there is none, or one holds a value that is not finite.
    """
    own = network.state_dict()
    skipped = dict.fromkeys(source.unplaced, "the network has no place for it")
    fitting = []
    for name, tensor in source.tensors.items():
        if name not in own:
            skipped[name] = "the network has no such tensor"
        elif tensor.shape != own[name].shape:
            skipped[name] = f"{list(tensor.shape)} in the file, {list(own[name].shape)} in the network"
        elif own[name].is_floating_point() and not tensor.is_floating_point():
            skipped[name] = f"{tensor.dtype} in the file, {own[name].dtype} in the network"
        elif not tensor.float().isfinite().all():
            raise UserError(f"{source.path}: {name} holds values that are not finite")
        else:
            fitting.append(name)
    if not fitting:
        raise UserError(
            f"{source.path}: none of its tensors fits the network: found {some(source.tensors)}, expected {some(own)}"
        )
    for name in fitting:
        own[name].copy_(source.tensors[name])
    missing = tuple(name for name in own if name not in source.tensors)
    return LoadReport(describe(source), tuple(fitting), skipped, missing)


def describe(source: Source) -> str:
    """One line on a source: file, architecture, naming, auxiliary branch, classes and class width."""
    parts = [source.architecture or "network of its own", f"naming {source.layout}"]
    if source.architecture is not None:
        parts.append(f"{'with' if source.has_auxiliary else 'without'} auxiliary branch")
        parts.append(f"{source.classes} classes, class width {source.class_width}")
    return f"{source.path} ({', '.join(parts)})"


def _default_width(spec: NetworkSpec, num_classes: int) -> int:
    with torch.device("meta"):
        return len(spec.build(num_classes).state_dict()["head.cls.0.0.conv.weight"])
