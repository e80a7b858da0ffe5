"""How far an exported file is from the network it was made of, stage by stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from yolo.boxes.nms import NMSOptions, non_max_suppression
from yolo.models.detection_model import DetectionModel
from yolo.models.exportable import ExportableModel
from yolo.quantization import is_quantized
from yolo.runtime.network import ExportedNetwork

BATCHES = (1, 5)
"""Numbers of images per run that a file with a dynamic batch is tried with."""


@dataclass(frozen=True)
class Bars:
    """The largest differences that pass."""

    boxes: float | None
    """Pixels of the network's input, of any side of any anchor's box; None for no bar."""
    scores: float | None
    """Of any class of any anchor; None for no bar."""
    corners: float
    """Pixels of the network's input, of any side of a detection's box."""
    confidence: float
    """Of a detection."""
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
BEST = 50
"""Anchors of an image whose boxes are looked at apart: of the others many find nothing, and rounding moves their boxes
as far as an error would."""
NOISE = 3.0
"""Times that change, differences pass whatever the bars ..."""
WIDEST = Bars(1.0, 1e-2, 2.0, 1e-2, 0.2)
"""... up to these: a network that answers more than that with noise is of no use to anyone."""
EIGHT_BITS = Bars(None, None, 8.0, 0.25, 0.5)
BARS = {
    "fp32": Bars(1e-2, 1e-4, 2e-2, 1e-4, 0.01),
    "fp16": Bars(32.0, 5e-2, 2.0, 5e-2, 0.05),
    "dynamic": EIGHT_BITS,
    "int8": EIGHT_BITS,
}
"""By the quantisation of the file. Those of 16 and 8 bits catch a broken file: boxes of anchors that find nothing move
by 10 pixels in 16 bits and by 200 in 8 in a v9-t whose mAP stays the same. How good such a file is, its mAP says."""


def bars_for(quantization: str, noise: Stage) -> Bars:
    """The bars for a network that answers a tiny change of its images like `noise`."""
    usual = BARS[quantization]

    def wider(bar: float, change: float, widest: float | None) -> float:
        assert widest is not None
        return max(bar, min(NOISE * change, widest))

    return Bars(
        usual.boxes and wider(usual.boxes, noise.boxes, WIDEST.boxes),
        usual.scores and wider(usual.scores, noise.scores, WIDEST.scores),
        wider(usual.corners, 2 * noise.boxes, WIDEST.corners),  # the centre's change and half that of a side
        wider(usual.confidence, noise.scores, WIDEST.confidence),
        wider(usual.missed, noise.missed / max(noise.detections, 1), WIDEST.missed),
    )


@dataclass(frozen=True)
class Stage:
    """One step from the checkpoint to the file, against another."""

    name: str
    boxes: float
    """Largest difference of any box's centre, width or height, in pixels of the network's input."""
    boxes_mean: float
    boxes_best: float
    """Mean difference of the same at the anchors of each image that score best, where the boxes mean something."""
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
        if not math.isfinite(self.boxes + self.scores):
            found.append("boxes or scores are not finite")
        if bars.boxes is not None and self.boxes > bars.boxes:
            found.append(f"boxes differ by {self.boxes:.3g} pixels ({bars.boxes:g} are allowed)")
        if bars.scores is not None and self.scores > bars.scores:
            found.append(f"scores differ by {self.scores:.3g} ({bars.scores:g} is allowed)")
        if self.missed > bars.missed * self.detections:
            found.append(f"{self.missed} of {self.detections} detections differ ({bars.missed:.0%} may)")
        return [f"{self.name}: {failure}" for failure in found]


@dataclass(frozen=True)
class Networks:
    """What is compared."""

    checkpoint: DetectionModel
    """As it was trained, in eval mode."""
    exportable: ExportableModel
    """What the file was made of."""
    file: ExportedNetwork
    """As its users run it."""
    quantized: nn.Module | None = None
    """What an INT8 file computes, in torch, with the outputs of the exportable model."""


@dataclass(frozen=True)
class Trial:
    """What it is compared on."""

    images: Tensor
    """float32 [N, 3, H, W] in 0..1, on the CPU."""
    source: str
    """Where they come from, in words."""
    options: NMSOptions


ROUNDING = 3.0
"""Times the change by quantisation that an INT8 file may differ from the quantised network on average."""


@dataclass(frozen=True)
class Conversion:
    """An INT8 file against what it should compute; every operator rounds, so that neither is the other to the bit.

    The bar is three times what quantisation itself changes. LiteRT's own two sets of kernels differ by half of that on
    a trained v9-t, a file from its network by as much on one with random weights, and an RKNN file by twice as much.
    """

    file: Stage
    """The file, against the quantised network in torch."""
    quantized: Stage
    """That, against the network in float with the same weights."""

    @property
    def failures(self) -> list[str]:
        """The checks that fail, in words."""
        found = []
        for what, name, unit in (("best boxes", "boxes_best", " pixels"), ("scores", "scores_mean", "")):
            mean, cost = (getattr(stage, name) for stage in (self.file, self.quantized))
            if not mean <= ROUNDING * cost:
                found.append(
                    f"{self.file.name}: {what} differ by {mean:.3g}{unit} on average from the quantised network, "
                    f"which differs by {cost:.3g} from the one in float; {ROUNDING:g} times that is allowed"
                )
        return found


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
    """Against the checkpoint."""
    score_levels: int
    """Different scores that the file gave."""
    conversion: Conversion | None = None

    @property
    def failures(self) -> list[str]:
        """The checks that fail, in words."""
        found = [failure for stage in self.stages for failure in stage.failures(self.bars)]
        if self.score_levels < 2:
            found.append(f"{self.stages[-1].name}: all scores are the same")
        return found + (self.conversion.failures if self.conversion else [])

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "failures": self.failures}


@torch.inference_mode()
def compare_stages(networks: Networks, trial: Trial) -> Parity:
    """Run images through the checkpoint's network, the exportable model, its quantised form if any, and the file."""
    checkpoint, exportable, file = networks.checkpoint, networks.exportable, networks.file
    images, options, quantization = trial.images, trial.options, networks.file.record.quantization
    reference = torch.cat([_decoded(checkpoint, image[None]) for image in images])
    changed = torch.cat([_decoded(checkpoint, image[None]) for image in jittered(images)])
    noise = _stage(f"checkpoint, images changed by {JITTER:g}", reference, changed, options, BARS[quantization])
    bars = bars_for(quantization, noise)
    steps: dict[str, nn.Module] = {"torch, deployed": exportable}
    if networks.quantized is not None:
        steps["torch, quantised"] = networks.quantized
    found = {
        name: torch.cat([file.decode(_maps(step, exportable, image[None])) for image in images])
        for name, step in steps.items()
    }
    batches = BATCHES if file.record.batch is None else (file.record.batch,)
    for batch in batches:
        found[f"file, batch {batch}"] = torch.cat([_decoded(file, some) for some in images.split(batch)])
    last, decoded = list(found.items())[-1]
    stages = {name: _stage(name, reference, each, options, bars) for name, each in found.items()}
    conversion = None
    if networks.quantized is not None:
        quantized = found["torch, quantised"]
        against = _stage(f"{last}, against quantised", quantized, decoded, options, bars)
        cost = stages["torch, quantised"]
        if is_quantized(checkpoint):
            learnt = checkpoint.in_float()
            in_float = torch.cat([_decoded(learnt, image[None]) for image in images])
            cost = _stage("torch, quantised, against float", in_float, quantized, options, bars)
        conversion = Conversion(against, cost)
    levels = len(decoded[:, 4:].unique())
    return Parity(
        len(images), trial.source, options.confidence, bars, noise, tuple(stages.values()), levels, conversion
    )


def _decoded(model: DetectionModel, images: Tensor) -> Tensor:
    maps, *_ = model(images)
    return model.decode(maps)


def _maps(step: nn.Module, exportable: ExportableModel, images: Tensor) -> list[Tensor]:
    """What a module with an exportable model's outputs says, as `ExportedNetwork.decode` takes it, on the CPU."""
    weights = next(exportable.network.parameters())
    outputs = [output.float().cpu() for output in step(images.to(weights.device, weights.dtype))]
    if exportable.form != "raw":
        return outputs
    return [torch.cat(pair, 1) for pair in zip(outputs[::2], outputs[1::2], strict=True)]


def _stage(name: str, reference: Tensor, decoded: Tensor, options: NMSOptions, bars: Bars) -> Stage:
    difference = (decoded - reference).abs()
    boxes, scores = difference[:, :4], difference[:, 4:]
    best = reference[:, 4:].amax(1).topk(min(BEST, reference.shape[2])).indices  # [N, K]
    boxes_best = boxes.gather(2, best[:, None].expand(-1, 4, -1))
    counts = [
        count_missed(*pair, options, bars)
        for pair in zip(non_max_suppression(reference, options), non_max_suppression(decoded, options), strict=True)
    ]
    detections, missed = (sum(column) for column in zip(*counts, strict=True))
    return Stage(
        name,
        float(boxes.max()),
        float(boxes.mean()),
        float(boxes_best.mean()),
        float(scores.max()),
        float(scores.mean()),
        detections,
        missed,
    )


def count_missed(reference: Tensor, found: Tensor, options: NMSOptions, bars: Bars) -> tuple[int, int]:
    """Detections [K, 6] that must be there again, and how many of them are not among `found` [L, 6].

    Those so close to the confidence threshold, or to the last that there is room for, that a difference within the bars
    decides on them need not.
    """
    full = len(reference) == options.max_detections
    lowest = max(options.confidence, float(reference[-1, 4]) if full else 0.0)
    clear = reference[reference[:, 4] > lowest + bars.confidence]
    alike = (
        ((clear[:, None, :4] - found[None, :, :4]).abs().amax(2) <= bars.corners)
        & ((clear[:, None, 4] - found[None, :, 4]).abs() <= bars.confidence)
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
