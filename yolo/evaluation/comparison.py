"""Two detectors on the same images: differences with confidence intervals, by a paired bootstrap over images.

Percentile intervals (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). Both detectors are
measured on the same drawn images, so that what makes an image hard for both cancels out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo.errors import UserError
from yolo.evaluation.coco import CocoEvaluation, GroundTruth
from yolo.evaluation.resampling import Averages, Resampled, draw_weights

Floats = NDArray[np.float64]

_AREAS = ("all", "small", "medium", "large")

FEW_IMAGES = 30
"""Below this number percentile intervals are visibly too narrow."""


@dataclass(frozen=True)
class Difference:
    """One number of two detectors; None where the ground truth does not define it."""

    name: str
    a: float | None
    b: float | None
    difference: float | None
    """b - a."""
    low: float | None
    """Lower bound of the interval of the difference."""
    high: float | None
    """Upper bound."""

    @property
    def shown(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Comparison:
    """Detector B against detector A."""

    metrics: list[Difference]
    """AP, AP50, AP75, APs, APm, APl, AR100."""
    classes: list[Difference]
    """AP50-95 of every class."""
    images: int
    samples: int
    seed: int
    confidence: float

    @property
    def verdict(self) -> str:
        """One sentence about AP."""
        entry = self.metrics[0]
        if entry.difference is None or entry.low is None or entry.high is None:
            return "nothing to compare: no image has an object"
        interval = f"[{entry.low:+.3f}, {entry.high:+.3f}]"
        if not entry.shown:
            percent = f"{100 * self.confidence:g}%"
            return f"no difference shown at {percent}: B - A is {entry.difference:+.3f} AP {interval}"
        better, sign = ("B", 1) if entry.difference > 0 else ("A", -1)
        bounds = sorted((sign * entry.low, sign * entry.high))
        return f"{better} is better by {abs(entry.difference):.3f} AP [{bounds[0]:.3f}, {bounds[1]:.3f}]"

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return {"verdict": self.verdict, **asdict(self)}


def compare(
    a: CocoEvaluation,
    b: CocoEvaluation,
    class_names: tuple[str, ...],
    *,
    samples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Comparison:
    """Differences of two evaluations of the same images.

    Args:
        a: the first detector's, the baseline.
        b: the second detector's.
        class_names: of both.
        samples: bootstrap samples.
        seed: of the samples; the same one draws the same images.
        confidence: share of the samples inside an interval.

    Raises:
        UserError: The evaluations are of different images or annotations.
    """
    require_same_images(a.ground_truth, b.ground_truth)
    images = len(a.ground_truth.images)
    # The first sample is all images once: the numbers themselves, by the code that makes their intervals.
    weights = np.concatenate([np.ones((1, images)), draw_weights(images, samples, seed)])
    ours = {area: (Resampled(a, area).averages(weights), Resampled(b, area).averages(weights)) for area in _AREAS}
    both = ours["all"]
    values = {
        "AP": _pair(both, lambda one: one.ap()),
        "AP50": _pair(both, lambda one: one.ap(0)),
        "AP75": _pair(both, lambda one: one.ap(5)),
        **{f"AP{area[0]}": _pair(ours[area], lambda one: one.ap()) for area in _AREAS[1:]},
        "AR100": _pair(both, lambda one: one.ar()),
    }
    return Comparison(
        metrics=[_difference(name, *pair, confidence) for name, pair in values.items()],
        classes=[
            _difference(name, both[0].class_ap[:, c], both[1].class_ap[:, c], confidence)
            for c, name in enumerate(class_names)
        ],
        images=images,
        samples=samples,
        seed=seed,
        confidence=confidence,
    )


def require_same_images(a: GroundTruth, b: GroundTruth) -> None:
    """UserError when two evaluations are not of the same images with the same annotations."""
    if [image["id"] for image in a.images] != [image["id"] for image in b.images]:
        raise UserError(
            f"A was measured on {len(a.images)} images and B on {len(b.images)}, and they are not the same images: "
            "nothing to compare"
        )
    columns = ("image_ids", "classes", "boxes", "areas", "crowd")
    if not all(np.array_equal(getattr(a, name), getattr(b, name)) for name in columns):
        raise UserError("A and B were measured against different annotations of the same images")


def _pair(both: tuple[Averages, Averages], number: Callable[[Averages], Floats]) -> tuple[Floats, Floats]:
    return number(both[0]), number(both[1])


def _difference(name: str, a: Floats, b: Floats, confidence: float) -> Difference:
    """From the values [1 + samples] of both, those of all images first."""
    if np.isnan(a[0]):
        return Difference(name, None, None, None, None, None)
    low = high = None
    drawn = (b - a)[1:]
    drawn = drawn[~np.isnan(drawn)]  # samples without an object of it say nothing about it
    if len(drawn):
        low, high = (float(v) for v in np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2]))
    return Difference(name, float(a[0]), float(b[0]), float(b[0] - a[0]), low, high)
