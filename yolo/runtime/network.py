"""A network in an exported file, in the place of one in torch: same letterbox, decode, NMS and evaluator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolo.errors import UserError
from yolo.models.detection_model import DetectionModel, Maps
from yolo.runtime.metadata import ExportRecord

Run = Callable[[NDArray[np.float32]], Sequence[NDArray[Any]]]
"""float32 [B, 3, H, W] in 0..1 to the file's outputs, in the record's order, NCHW."""


class ExportedNetwork(DetectionModel):
    """What `yolo.inference.detect` takes like any detection network.

    Args:
        record: of the file.
        run: runs the file on as many images as it takes at once.
        size: of the file in bytes.
    """

    def __init__(self, record: ExportRecord, run: Run, size: int) -> None:
        super().__init__(len(record.class_names), record.strides)
        self.record = record
        self.fixed_size = record.image_size
        self._run = run
        self._size = size
        self.register_buffer("_bins", torch.tensor(record.bins))
        self.eval()

    @property
    def bins(self) -> Tensor:
        """[R] distance in strides that each bin stands for."""
        return self.get_buffer("_bins")

    @property
    def cost(self) -> tuple[int, int]:
        """Parameters of the network and bytes of the file."""
        return self.record.parameters, self._size

    def deploy(self) -> DetectionModel:
        """Itself: it is."""
        return self

    def forward(self, images: Tensor) -> tuple[Maps, ...]:
        """Run the file.

        Args:
            images: float [B, 3, H, W] in 0..1, on any device; H and W are those of the file.

        Returns:
            What `decode` takes: in form `raw` the maps of each level, else the outputs as they are; float32, on the
            device of the images.
        """
        if tuple(images.shape[1:]) != (3, *self.record.image_size):
            height, width = self.record.image_size
            raise UserError(f"the file takes images [B, 3, {height}, {width}], found {list(images.shape)}")
        pixels = images.float().contiguous().cpu().numpy()
        step = self.record.batch or max(len(pixels), 1)
        parts = [self._checked(_filled(pixels[i : i + step], step)) for i in range(0, len(pixels), step)]
        outputs = [
            torch.from_numpy(np.concatenate(arrays)[: len(pixels)].astype(np.float32, copy=False)).to(images.device)
            for arrays in zip(*parts, strict=True)
        ]
        if self.record.form != "raw":
            return (outputs,)
        pairs = zip(outputs[::2], outputs[1::2], strict=True)
        return ([torch.cat(pair, 1) for pair in pairs],)  # [B, 4 * R + C, h, w] of each level

    def _checked(self, pixels: NDArray[np.float32]) -> Sequence[NDArray[Any]]:
        """Outputs of a run; UserError when their shapes are not what the file declares."""
        outputs = self._run(pixels)
        found = [array.shape for array in outputs]
        expected = [(len(pixels), *shape) for shape in self.record.outputs.values()]
        if found != expected:
            raise UserError(f"the file gave outputs of shapes {found}, by its record they are {expected}")
        return outputs

    def decode(self, maps: Maps) -> Tensor:
        """What `forward` gave to [B, 4 + C, A]: xywh in pixels, then probabilities."""
        return super().decode(maps) if self.record.form == "raw" else torch.cat(maps, 1)


def _filled(pixels: NDArray[np.float32], batch: int) -> NDArray[np.float32]:
    """[B, 3, H, W] with black images after the last, so that there are `batch` of them."""
    missing = batch - len(pixels)
    return np.concatenate([pixels, np.zeros((missing, *pixels.shape[1:]), np.float32)]) if missing else pixels


def require_outputs(found: Mapping[str, Sequence[Any]], record: ExportRecord, where: str) -> None:
    """UserError unless the outputs of a file, shapes with the batch by name, are those of its record."""
    expected = {name: list(shape) for name, shape in record.outputs.items()}
    shapes = {name: list(shape)[1:] for name, shape in found.items()}
    if shapes != expected:
        raise UserError(f"{where}: its outputs are {shapes}, by its record they are {expected}"[:400])
