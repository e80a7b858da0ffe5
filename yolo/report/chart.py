"""Line charts as coordinates of an SVG, which the page's template draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 12, 46
COLOURS, DASHES = 10, 4


@dataclass(frozen=True)
class Line:
    """One line."""

    name: str
    """Empty for one that has no entry in the legend."""
    points: str
    """Of a polyline; several, parted by `|`, when the line has gaps."""
    style: str
    """Classes of the style sheet."""


@dataclass(frozen=True)
class Mark:
    """One marked point."""

    name: str
    x: float
    y: float
    diamond: bool


class Chart:
    """Axes in the units of the data; lines and marks are added one by one.

    Args:
        key: the chart's id in the page, unique there.
        title: stands above it.
        x_label: name of the horizontal axis.
        y_label: name of the vertical axis.
        x_range: least and greatest value of the horizontal axis.
        y_range: the same of the vertical one.
        whole: whether the horizontal axis counts, so that it has no fractions.
    """

    def __init__(
        self,
        key: str,
        title: str,
        x_label: str,
        y_label: str,
        x_range: tuple[float, float] = (0, 1),
        y_range: tuple[float, float] = (0, 1),
        *,
        whole: bool = False,
    ) -> None:
        self.key, self.title, self.x_label, self.y_label = key, title, x_label, y_label
        self.x_range, self.y_range, self.whole = x_range, y_range, whole
        self.lines: list[Line] = []
        self.marks: list[Mark] = []
        self.text = ""
        """What the chart says, for those who do not see it."""

    def add(self, name: str, x: ArrayLike, y: ArrayLike, style: str | int) -> None:
        """Add a line through points x, y [T]; a NaN is a gap. A style that is a number is a colour and a dash."""
        if isinstance(style, int):
            style = f"l{style % COLOURS} d{style % DASHES}"
        pairs = np.stack([self.across(np.asarray(x, float)), self.up(np.asarray(y, float))], axis=1).round(1)
        self.lines.append(Line(name, "|".join(_runs(pairs)), style))

    def mark(self, name: str, x: float, y: float, *, diamond: bool = False) -> None:
        """Add a point."""
        self.marks.append(Mark(name, round(float(self.across(x)), 1), round(float(self.up(y)), 1), diamond))

    def across(self, value: ArrayLike) -> np.ndarray:
        """Horizontal place of a value in the drawing."""
        low, high = self.x_range
        return LEFT + (np.asarray(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def up(self, value: ArrayLike) -> np.ndarray:
        """Vertical place of a value in the drawing."""
        low, high = self.y_range
        return HEIGHT - BOTTOM - (np.asarray(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    @property
    def x_ticks(self) -> list[tuple[float, str]]:
        """Places and texts below the horizontal axis."""
        return [
            (round(float(self.across(value)), 1), text) for value, text in _ticks(*self.x_range, 1 if self.whole else 0)
        ]

    @property
    def y_ticks(self) -> list[tuple[float, str]]:
        """Places and texts beside the vertical axis."""
        return [(round(float(self.up(value)), 1), text) for value, text in _ticks(*self.y_range)]


def _runs(pairs: np.ndarray) -> list[str]:
    """Points of the parts of a line between gaps; where it runs straight the points in between are left out."""
    whole = np.isfinite(pairs).all(axis=1)
    runs = []
    for part in np.split(np.arange(len(pairs)), np.flatnonzero(np.diff(whole)) + 1):
        if len(part) and whole[part[0]]:
            points = pairs[part]
            points = points[np.concatenate([[True], (np.diff(points, axis=0) != 0).any(axis=1)])]
            steps = np.diff(points, axis=0)
            turned = steps[1:, 0] * steps[:-1, 1] != steps[1:, 1] * steps[:-1, 0]
            back = (steps[1:] * steps[:-1]).sum(axis=1) < 0
            points = points[np.concatenate([[True], turned | back, [True]])[: len(points)]]
            runs.append(" ".join(f"{x:g},{y:g}" for x, y in points.tolist()))
    return runs


def _ticks(low: float, high: float, least: float = 0) -> list[tuple[float, str]]:
    """About five round values of an axis with their texts, at least `least` apart."""
    step = 10 ** np.floor(np.log10((high - low) / 4))
    for factor in (1, 2, 2.5, 5, 10):
        if (high - low) / (step * factor) <= 5.001:
            step *= factor
            break
    step = max(step, least)
    first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
    return [(float(number * step), f"{number * step:.6g}") for number in range(first, last + 1)]


def span(values: Sequence[ArrayLike]) -> tuple[float, float]:
    """The range of an axis that holds all finite values, from 0 on when they are not below it."""
    every = np.concatenate([np.asarray(v, float).ravel() for v in values]) if len(values) else np.zeros(0)
    every = every[np.isfinite(every)]
    if not len(every):
        return 0.0, 1.0
    low, high = min(0.0, float(every.min())), float(every.max())
    return low, high if high > low else low + 1.0
