"""The answers of two networks to the same images, one against the other."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from yolo.boxes.nms import NMSOptions, non_max_suppression
from yolo.export.bars import Bars

BEST = 50
"""Anchors of an image whose boxes are looked at apart: of the others many find nothing, and rounding moves their boxes
as far as an error would."""


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
        if bars.best is not None and self.boxes_best > bars.best:
            found.append(f"best boxes differ by {self.boxes_best:.3g} pixels on average ({bars.best:g} are allowed)")
        if bars.mean is not None and self.scores_mean > bars.mean:
            found.append(f"scores differ by {self.scores_mean:.3g} on average ({bars.mean:g} is allowed)")
        if self.missed > bars.missed * self.detections:
            found.append(f"{self.missed} of {self.detections} detections differ ({bars.missed:.0%} may)")
        return [f"{self.name}: {failure}" for failure in found]


ROUNDING = 3.0
"""Times the change by quantisation that an INT8 file may differ from the quantised network on average."""


@dataclass(frozen=True)
class Conversion:
    """An INT8 file against what it should compute; every operator rounds, and not every runtime as XNNPACK.

    That one's files are equal but for the decode in float. The bar, for the others, is three times what quantisation
    itself changes: LiteRT's other kernels differ by half of that on a trained v9-t, an RKNN file by twice as much.
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


def compare_decoded(name: str, reference: Tensor, decoded: Tensor, options: NMSOptions, bars: Bars) -> Stage:
    """Two networks' [N, 4 + C, A], as `DetectionModel.decode` gives it, of the same images.

    Args:
        name: of the stage.
        reference: of the one.
        decoded: of the other.
        options: of the NMS that makes detections of them.
        bars: within which detections are alike.
    """
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
