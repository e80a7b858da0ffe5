"""How far an exported file is from the network it was made of, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from yolo.boxes.nms import NMSOptions, non_max_suppression
from yolo.export.model import ExportableModel
from yolo.models.detection_model import DetectionModel
from yolo.runtime.network import ExportedNetwork

BATCHES = (1, 5)
"""Numbers of images per run that a file with a dynamic batch is tried with."""


@dataclass(frozen=True)
class Bars:
    """The largest differences that pass."""

    boxes: float
    """Pixels of the network's input, of any side of any anchor's box."""
    scores: float
    """Of any class of any anchor."""
    corners: float
    """Pixels of the network's input, of any side of a detection's box."""
    missed: float
    """Part of the detections: NMS passes a difference at its threshold on to whole boxes."""


class CheckFailedError(Exception):
    """An exported file does not compute what its checkpoint computes: one sentence for each check that it failed."""

    def __init__(self, failures: Sequence[str]) -> None:
        super().__init__("; ".join(failures))
        self.failures = tuple(failures)


JITTER = 1e-6
"""Relative change of the pixels that the checkpoint's own answer is tried with. What it does to that answer is as large
as what rounding does (measured: deployed against checkpoint, v9-t, s, c and e), and no file can be nearer."""
NOISE = 3.0
"""Times that change, differences pass whatever the bars ..."""
WIDEST = Bars(1.0, 1e-2, 2.0, 0.2)
"""... up to these: a network that answers more than that with noise is of no use to anyone."""
BARS = {
    "fp32": Bars(1e-2, 1e-4, 2e-2, 0.01),
    "fp16": Bars(32.0, 5e-2, 2.0, 0.05),
    "int8": Bars(1e4, 0.5, 8.0, 0.5),
}
"""By the quantisation of the file. Those of fp16 catch a broken file: boxes of anchors that find nothing
move by 10 pixels in a v9-t whose mAP stays the same. How good it is, its mAP says."""


def bars_for(quantization: str, noise: Stage) -> Bars:
    """The bars for a network that answers a tiny change of its images like `noise`."""
    usual = BARS[quantization]

    def wider(bar: float, change: float, widest: float) -> float:
        return max(bar, min(NOISE * change, widest))

    return Bars(
        wider(usual.boxes, noise.boxes, WIDEST.boxes),
        wider(usual.scores, noise.scores, WIDEST.scores),
        wider(usual.corners, 2 * noise.boxes, WIDEST.corners),  # the centre's change and half that of a side
        wider(usual.missed, noise.missed / max(noise.detections, 1), WIDEST.missed),
    )


@dataclass(frozen=True)
class Stage:
    """One step from the checkpoint to the file, against the checkpoint."""

    name: str
    boxes: float
    """Largest difference of any box's centre, width or height, in pixels of the network's input."""
    boxes_mean: float
    scores: float
    """Largest difference of any score."""
    scores_mean: float
    detections: int
    """Of the checkpoint after NMS, those within the bars of the confidence threshold or of the last place left out."""
    missed: int
    """Of those, without a partner among this stage's detections: of the same class, and alike within the bars."""

    def failures(self, bars: Bars) -> list[str]:
        """The checks that fail, in words."""
        found = []
        if not self.boxes <= bars.boxes:  # so that NaN fails
            found.append(f"boxes differ by {self.boxes:.3g} pixels ({bars.boxes:g} are allowed)")
        if not self.scores <= bars.scores:
            found.append(f"scores differ by {self.scores:.3g} ({bars.scores:g} is allowed)")
        if self.missed > bars.missed * self.detections:
            found.append(f"{self.missed} of {self.detections} detections differ ({bars.missed:.0%} may)")
        return [f"{self.name}: {failure}" for failure in found]


@dataclass(frozen=True)
class Parity:
    """The whole comparison."""

    images: int
    source: str
    """Where the images come from, in words."""
    confidence: float
    """Of the detections."""
    bars: Bars
    noise: Stage
    """The checkpoint on images changed by JITTER."""
    stages: tuple[Stage, ...]

    @property
    def failures(self) -> list[str]:
        """The checks that fail, in words."""
        return [failure for stage in self.stages for failure in stage.failures(self.bars)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "failures": self.failures}


@torch.inference_mode()
def compare_stages(
    model: DetectionModel,
    exportable: ExportableModel,
    file: ExportedNetwork,
    images: Tensor,
    options: NMSOptions,
    source: str,
) -> Parity:
    """Run images through the checkpoint's network, the exportable model and the file.

    Args:
        model: as it was trained, in eval mode.
        exportable: what the file was made of.
        file: as its users run it.
        images: float32 [N, 3, H, W] in 0..1, on the CPU.
        options: of NMS.
        source: where the images come from, in words.
    """
    usual = BARS[file.record.quantization]
    reference = torch.cat([_decoded(model, image[None]) for image in images])
    changed = torch.cat([_decoded(model, image[None]) for image in jittered(images)])
    noise = _stage(f"checkpoint, images changed by {JITTER:g}", reference, changed, options, usual)
    bars = bars_for(file.record.quantization, noise)
    found = {"torch, deployed": torch.cat([file.decode(_maps(exportable, image[None])) for image in images])}
    batches = BATCHES if file.record.batch is None else (file.record.batch,)
    for batch in batches:
        found[f"file, batch {batch}"] = torch.cat([_decoded(file, some) for some in images.split(batch)])
    stages = tuple(_stage(name, reference, decoded, options, bars) for name, decoded in found.items())
    return Parity(len(images), source, options.confidence, bars, noise, stages)


def _decoded(model: DetectionModel, images: Tensor) -> Tensor:
    maps, *_ = model(images)
    return model.decode(maps)


def _maps(exportable: ExportableModel, images: Tensor) -> list[Tensor]:
    """What the exportable model says, as `ExportedNetwork.decode` takes it, on the CPU."""
    weights = next(exportable.network.parameters())
    outputs = [output.float().cpu() for output in exportable(images.to(weights.device, weights.dtype))]
    if exportable.form != "raw":
        return outputs
    return [torch.cat(pair, 1) for pair in zip(outputs[::2], outputs[1::2], strict=True)]


def _stage(name: str, reference: Tensor, decoded: Tensor, options: NMSOptions, bars: Bars) -> Stage:
    difference = (decoded - reference).abs()
    boxes, scores = difference[:, :4], difference[:, 4:]
    counts = [
        count_missed(*pair, options, bars)
        for pair in zip(non_max_suppression(reference, options), non_max_suppression(decoded, options), strict=True)
    ]
    detections, missed = (sum(column) for column in zip(*counts, strict=True))
    return Stage(
        name, float(boxes.max()), float(boxes.mean()), float(scores.max()), float(scores.mean()), detections, missed
    )


def count_missed(reference: Tensor, found: Tensor, options: NMSOptions, bars: Bars) -> tuple[int, int]:
    """Detections [K, 6] that must be there again, and how many of them are not among `found` [L, 6].

    Those so close to the confidence threshold, or to the last that there is room for, that a difference within the bars
    decides on them need not.
    """
    full = len(reference) == options.max_detections
    lowest = max(options.confidence, float(reference[-1, 4]) if full else 0.0)
    clear = reference[reference[:, 4] > lowest + bars.scores]
    alike = (
        ((clear[:, None, :4] - found[None, :, :4]).abs().amax(2) <= bars.corners)
        & ((clear[:, None, 4] - found[None, :, 4]).abs() <= bars.scores)
        & (clear[:, None, 5] == found[None, :, 5])
    )
    return len(clear), int((~alike.any(1)).sum())


def jittered(images: Tensor, seed: int = 0) -> Tensor:
    """The images, each pixel times a number within JITTER of 1."""
    generator = torch.Generator().manual_seed(seed)
    return images * (1 + JITTER * (2 * torch.rand(images.shape, generator=generator) - 1))


def random_images(number: int, size: tuple[int, int], seed: int = 0) -> Tensor:
    """float32 [number, 3, H, W] in 0..1: coarse patches of colour and fine noise."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    patches = torch.rand(number, 3, max(height // 32, 1), max(width // 32, 1), generator=generator)
    noise = torch.rand(number, 3, height, width, generator=generator)
    return (0.8 * torch.nn.functional.interpolate(patches, size) + 0.2 * noise).clamp(0, 1)


def spread(items: Sequence[Any], number: int) -> list[Any]:
    """At most `number` of the items, evenly spaced, the first among them."""
    return [items[i * len(items) // number] for i in range(number)] if len(items) > number else list(items)
