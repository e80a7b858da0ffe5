"""Runs a kept training step again and says where it stops being finite."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from yolo.errors import UserError
from yolo.losses.detection import LossResult
from yolo.losses.distillation import Distillation
from yolo.training.evidence import Evidence
from yolo.training.module import YOLOModule

DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class Replay:
    """What running the step again showed."""

    losses: dict[str, float]
    """box, cls and dfl of the main branch, and the total."""
    recorded: dict[str, float]
    """The same of the run."""
    same: bool
    """Whether both agree to the last bit; NaN agrees with NaN."""
    finite: bool
    """Whether the total and all gradients are finite."""
    first_module: str | None
    """The first module to finish whose output is not finite."""
    weights: list[str]
    """Parameters and buffers that were not finite before the step."""
    gradients: list[str]
    """Parameters whose gradient is not finite."""
    targets: list[str]
    """Targets that are not finite, have no area or reach outside the image, in words."""
    images: list[str]
    """Files of the batch."""


def replay(path: Path, device: Literal["auto", "cpu", "cuda"] = "auto") -> Replay:
    """Run the step of a bundle again. UserError when the file cannot be used.

    Args:
        path: file that a run left in its folder `non_finite`.
        device: where to run; auto is the run's device if there is one here, else the CPU.
    """
    evidence = Evidence.read(path)
    chosen = _choose_device(device, evidence.device)
    module = YOLOModule.from_checkpoint(path, compile=False).to(chosen)
    _restore(module.model, evidence)
    weights = [name for name, tensor in module.model.state_dict().items() if not tensor.isfinite().all()]
    with _conditions(evidence, chosen), _watch(module.model) as found:
        result = _loss(module, evidence)
    losses = {**result.parts, "total": result.total.detach()}
    result.total.backward()
    gradients = [n for n, p in module.model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    return Replay(
        losses={name: value.item() for name, value in losses.items()},
        recorded={name: value.item() for name, value in evidence.losses.items()},
        same=all(_same(value.cpu(), evidence.losses[name]) for name, value in losses.items()),
        finite=bool(result.total.isfinite()) and not gradients,
        first_module=found[0] if found else None,
        weights=weights,
        gradients=gradients,
        targets=describe_bad_targets(evidence.targets, evidence.paths, evidence.images.shape[2:]),
        images=evidence.paths,
    )


def describe_bad_targets(targets: Tensor, paths: Sequence[str], size: Sequence[int]) -> list[str]:
    """A line for each target `[M, 6]` that no label of an image of `size` (height, width) can be."""
    lines = []
    for image, label, x1, y1, x2, y2 in targets.tolist():
        box = x1, y1, x2, y2
        if not all(map(math.isfinite, (image, label, *box))):
            fault = "is not finite"
        elif x2 <= x1 or y2 <= y1:
            fault = "has no area"
        elif min(box) < -1 or x2 > size[1] + 1 or y2 > size[0] + 1:  # a pixel of slack for rounding
            fault = "reaches outside the image"
        else:
            continue
        file = paths[int(image)] if math.isfinite(image) and 0 <= image < len(paths) else f"image {image:g}"
        lines.append(f"{file}: class {label:g}, box {' '.join(f'{value:g}' for value in box)} {fault}")
    return lines


def _loss(module: YOLOModule, evidence: Evidence) -> LossResult:
    images, targets = evidence.images.to(module.device), evidence.targets.to(module.device)
    if evidence.distilled is not None:
        wanted = [level.to(module.device) for level in evidence.distilled["wanted"]]
        weight = evidence.distilled["weight"]
        module.distillation = Distillation(lambda _: (wanted,), module.model.num_classes, weight)
    if evidence.world_size == 1:
        return module.compute_loss(images, targets)
    norms = iter(evidence.norms)  # the other ranks' shares are not here
    return module.compute_loss(images, targets, lambda _: next(norms).to(module.device), evidence.world_size)


def _restore(network: nn.Module, evidence: Evidence) -> None:
    """Bring modes and buffers, also those that no state dict holds, to where they were before the forward pass."""
    for name, part in network.named_modules():
        part.training = name not in evidence.evaluating
    missing = sorted(name for name, _ in network.named_buffers() if name not in evidence.buffers)
    if missing:
        raise UserError(f"the kept step lacks {len(missing)} buffers of the network, such as {missing[0]}")
    for name, buffer in network.named_buffers():
        buffer.copy_(evidence.buffers[name])


@contextlib.contextmanager
def _conditions(evidence: Evidence, device: torch.device) -> Iterator[None]:
    """Precision, number of threads and random state of the run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(evidence.threads)
    dtype = DTYPES.get(evidence.precision)
    try:
        with (
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
            torch.autocast(device.type, dtype=dtype, enabled=dtype is not None, cache_enabled=False),
        ):
            torch.set_rng_state(evidence.rng["cpu"])
            if device.type == "cuda" and "cuda" in evidence.rng:
                torch.cuda.set_rng_state(evidence.rng["cuda"], device)
            yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def _watch(network: nn.Module) -> Iterator[list[str]]:
    """Names of the modules whose outputs are not finite, in the order in which they finish: parts before wholes."""
    found: list[str] = []

    def look(name: str) -> Callable[..., None]:
        def hook(_part: nn.Module, _inputs: Any, output: Any) -> None:
            if not all(tensor.isfinite().all() for tensor in _tensors(output)):
                found.append(name or "the network itself")

        return hook

    handles = [part.register_forward_hook(look(name)) for name, part in network.named_modules()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _same(a: Tensor, b: Tensor) -> bool:
    return bool(((a == b) | (a.isnan() & b.isnan())).all())


def _choose_device(wanted: str, recorded: str) -> torch.device:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("--device is cuda, but there is no CUDA device here")
    name = recorded if wanted == "auto" else wanted
    return torch.device("cuda" if name == "cuda" and torch.cuda.is_available() else "cpu")
