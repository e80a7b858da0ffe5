"""The network's forward pass through torch.compile, or as it is where that does not work."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from yolo.models.detection_model import DetectionModel, Maps

logger = logging.getLogger(__name__)

Forward = Callable[[Tensor], tuple[Maps, ...]]


class CompiledForward:
    """Compiles at the first call. When the compiler fails, warns once and runs the network as it is from then on.

    The network itself stays untouched, so state dicts, copies, fusion and validation do not know of it. Errors that the
    network itself raises, memory among them, are not the compiler's and go through.

    Args:
        backend: as in `torch.compile`.
    """

    def __init__(self, backend: str | Callable[..., Any] = "inductor") -> None:
        from torch._dynamo.exc import TorchDynamoException  # takes seconds to import, for the few who compile

        self.backend = backend
        self._failures = (TorchDynamoException,)
        self._forward: Forward | None = None

    def __call__(self, model: DetectionModel, images: Tensor) -> tuple[Maps, ...]:
        """The branches' raw maps of images `[B, 3, H, W]`."""
        if self._forward is None:
            self._forward = self._compile(model, images)
        try:
            return self._forward(images)
        except self._failures as error:  # another shape is compiled anew, which can fail too
            self._forward = _give_up(model, error)
            return self._forward(images)

    def _compile(self, model: DetectionModel, images: Tensor) -> Forward:
        """The compiled forward pass, tried out forwards and backwards: what fails must fail here."""
        buffers = {name: tensor.clone() for name, tensor in model.named_buffers()}
        devices = [images.device] if images.device.type == "cuda" else []
        try:
            compiled = torch.compile(model.forward, backend=self.backend)
            with torch.random.fork_rng(devices=devices):
                total = torch.stack([level.float().sum() for branch in compiled(images) for level in branch]).sum()
                # Not backward(): gradients must neither be added up nor reach the hooks of distributed training.
                torch.autograd.grad(total, [p for p in model.parameters() if p.requires_grad], allow_unused=True)
        except Exception as error:  # compilers raise anything; what is the network's own fault comes again without them
            return _give_up(model, error)
        finally:
            with torch.no_grad():
                for name, buffer in model.named_buffers():
                    buffer.copy_(buffers[name])
        return compiled


def _give_up(model: DetectionModel, error: Exception) -> Forward:
    reason = " ".join(str(error).split())[:200]
    logger.warning("model.compile: torch.compile failed, training goes on without it (%s)", reason)
    return model
