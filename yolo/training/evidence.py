"""One training step, kept so completely that running it again gives the same loss.

The file is a checkpoint of ours with one more entry, so that the one reader of checkpoints reads it: tensors,
containers, numbers and strings. Its weights are those that training used at that step, never the average.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn

from yolo.errors import UserError
from yolo.losses.detection import LossResult
from yolo.models.checkpoint import CARD_KEY, WEIGHTS_PREFIX, ModelCard, read_checkpoint
from yolo.whole_file import whole_file

EVIDENCE_KEY = "non_finite_step"


class StepTrace:
    """What a training step leaves behind for the evidence; made anew at each step, all of it detached.

    Args:
        reduce_sum: as in `DetectionLoss`; its results are kept.
    """

    def __init__(self, reduce_sum: Callable[[Tensor], Tensor]) -> None:
        self._reduce_sum = reduce_sum
        self.norms: list[Tensor] = []
        """Sums of scores over all processes, which the terms were divided by; other ranks have a share in them."""
        self.losses: dict[str, Tensor] = {}
        """Parts of the main branch and the total, scalars."""

    def reduce_sum(self, value: Tensor) -> Tensor:
        """Reduce and remember."""
        self.norms.append(self._reduce_sum(value).detach())
        return self.norms[-1]

    def keep(self, result: LossResult) -> None:
        """Remember the loss."""
        self.losses = {**result.parts, "total": result.total.detach()}


@dataclass
class Before:
    """What a forward pass changes or depends on beside parameters, as it was before the pass."""

    buffers: dict[str, Tensor] = field(default_factory=dict)
    """All buffers of the network, BN statistics among them."""
    rng: dict[str, Tensor] = field(default_factory=dict)
    """State of torch's random numbers on `cpu`, and on `cuda` if the network is there."""

    @torch.no_grad()
    def take(self, network: nn.Module) -> None:
        """Copy the present state, into the same storage each time."""
        present = dict(network.named_buffers())
        known = self.buffers.keys() == present.keys()
        if known and all(self.buffers[name].device == tensor.device for name, tensor in present.items()):
            # One kernel for all tensors of a type on a GPU; lists of mixed types would take one for each.
            for _, group in groupby(sorted(present, key=lambda n: str(present[n].dtype)), lambda n: present[n].dtype):
                names = list(group)
                torch._foreach_copy_([self.buffers[name] for name in names], [present[name] for name in names])
        else:
            self.buffers = {name: tensor.clone() for name, tensor in present.items()}
        self.rng = {"cpu": torch.get_rng_state()}
        device = next(network.parameters()).device
        if device.type == "cuda":
            self.rng["cuda"] = torch.cuda.get_rng_state(device)


@dataclass(frozen=True)
class Evidence:
    """A training step: what went in, under which conditions, and what came out."""

    epoch: int
    """Counted from 1, as in the names of checkpoints."""
    step: int
    """Optimiser updates made before this one."""
    images: Tensor
    """uint8 `[B, 3, H, W]`."""
    targets: Tensor
    """float32 `[M, 6]`: image index, class, x1, y1, x2, y2 in pixels."""
    paths: list[str]
    """Files of the B images; for a mosaic, of the image that the sample was asked for."""
    losses: dict[str, Tensor]
    """Scalars box, cls, dfl and total, as the run had them."""
    norms: list[Tensor]
    """Sums of scores over all processes, which the terms were divided by."""
    buffers: dict[str, Tensor]
    """Buffers of the network before the forward pass."""
    rng: dict[str, Tensor]
    """Random states before the forward pass."""
    evaluating: list[str]
    """Modules that were in evaluation mode, such as frozen ones."""
    seed: int
    precision: str
    device: str
    """Type of the device: cpu, cuda, mps."""
    threads: int
    """CPU threads: sums are split among them, so that they decide the last bit."""
    rank: int
    world_size: int
    distilled: dict[str, Any] | None = None
    """The weight of the loss of distillation and the maps [B, K, h, w] that the teacher wanted, None without one."""

    def write(self, path: Path, card: ModelCard, weights: dict[str, Tensor]) -> None:
        """Write the file; it appears under its name when it is complete.

        Args:
            path: the file; its folder is made.
            card: what the network is.
            weights: state dict of the training module.

        Raises:
            OSError, RuntimeError: it cannot be written (torch reports a full disk as a RuntimeError).
        """
        before = {WEIGHTS_PREFIX + name: tensor for name, tensor in self.buffers.items()}
        content = {
            CARD_KEY: card.to_dict(),
            "state_dict": {name: before.get(name, tensor) for name, tensor in weights.items()},
            EVIDENCE_KEY: {item.name: getattr(self, item.name) for item in fields(self)},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            torch.save(move_data_to_device(content, "cpu"), partial)

    @classmethod
    def read(cls, path: str | Path) -> Evidence:
        """The inverse of `write`, without card and weights. UserError when the file holds no step."""
        stored: dict[str, Any] | None = read_checkpoint(path).get(EVIDENCE_KEY)
        if stored is None:
            raise UserError(f"{path}: a checkpoint, expected a file that a run left in its folder `non_finite`")
        expected = {item.name for item in fields(cls)}
        if not isinstance(stored, dict) or stored.keys() != expected:
            raise UserError(f"{path}: the step in it was kept by another version of this program, or is damaged")
        return cls(**stored)
