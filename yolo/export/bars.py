"""How far an exported file may be from the network it was made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yolo.export.stages import Stage


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
    best: float | None = None
    """Pixels, on average, of the boxes of the anchors that score best; None for no bar."""
    mean: float | None = None
    """Of all scores, on average; None for no bar."""


NOISE = 3.0
"""Times what a millionth of its pixels changes in the network's answer, differences pass whatever the bars ..."""
WIDEST = Bars(1.0, 1e-2, 2.0, 1e-2, 0.2)
"""... up to these: a network that answers more than that with noise is of no use to anyone."""
BARS = {
    "fp32": Bars(1e-2, 1e-4, 2e-2, 1e-4, 0.01),
    "fp16": Bars(32.0, 5e-2, 2.0, 5e-2, 0.05),
    "dynamic": Bars(None, 0.4, 4.0, 0.1, 0.5, best=1.0, mean=0.015),
    "int8": Bars(None, None, 8.0, 0.25, 0.5),
}
"""By the quantisation of the file. Those of 16 and 8 bits catch a broken file: boxes of anchors that find nothing move
by 10 pixels in 16 bits and by 200 in 8 in a v9-t whose mAP stays the same. How good such a file is, its mAP says.
Measured of dynamic files: v9-t trained, scores 0.10, best boxes 0.09 pixels, scores on average 0.0005, no detection
missed; networks with random weights 0.04, 0.15, 0.004 and, where NMS has much to choose from, 13%."""


def bars_for(quantization: str, noise: Stage) -> Bars:
    """The bars for a network that answers a tiny change of its images like `noise`."""
    usual = BARS[quantization]

    def wider(bar: float, change: float, widest: float | None) -> float:
        assert widest is not None
        return max(bar, min(NOISE * change, widest))

    return replace(
        usual,
        boxes=usual.boxes and wider(usual.boxes, noise.boxes, WIDEST.boxes),
        scores=usual.scores and wider(usual.scores, noise.scores, WIDEST.scores),
        corners=wider(usual.corners, 2 * noise.boxes, WIDEST.corners),  # the centre's change and half that of a side
        confidence=wider(usual.confidence, noise.scores, WIDEST.confidence),
        missed=wider(usual.missed, noise.missed / max(noise.detections, 1), WIDEST.missed),
    )
