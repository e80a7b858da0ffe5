"""Confusion matrix and reliability diagram as matplotlib figures."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from yolo.evaluation.analysis import Analysis
from yolo.evaluation.confusion_view import confusion_view
from yolo.evaluation.plot_curves import shown_name

MOST_CLASSES = 30
"""More names than this do not fit beside a matrix that people look at."""
MOST_WITH_COUNTS = 31
_LONGEST_NAME = 24


def draw_confusion(analysis: Analysis) -> Figure:
    """Coloured by the share of the true class, with counts in the cells; the classes with most errors when many."""
    view = confusion_view(analysis, MOST_CLASSES)
    size = len(view.names)
    side = max(5.0, 2.5 + 0.32 * size)
    figure = Figure(figsize=(side + 1.5, side), layout="compressed")
    axes = figure.subplots()
    picture = axes.imshow(view.shares, vmin=0, vmax=1, cmap="Blues")
    names = [shown_name(name, _LONGEST_NAME) for name in view.names]
    letters = "small" if size > 12 else "medium"
    axes.set_xticks(range(size), names, rotation=90 if size > 4 else 0, fontsize=letters)
    axes.set_yticks(range(size), names, fontsize=letters)
    axes.set(xlabel="detected", ylabel="true")
    axes.axhline(size - 1.5, color="0.4", linewidth=1)  # background is no class
    axes.axvline(size - 1.5, color="0.4", linewidth=1)
    if size <= MOST_WITH_COUNTS:
        for (row, column), count in np.ndenumerate(view.counts):
            if count:
                ink = "white" if view.shares[row, column] > 0.55 else "black"
                axes.text(column, row, f"{count}", ha="center", va="center", color=ink, fontsize=_count_size(size))
    title = f"objects at confidence {analysis.confidence:.3g} and IoU 0.5"
    figure.suptitle(f"{title}\n{view.note}" if view.note else title, fontsize="medium")
    figure.colorbar(picture, ax=axes, label="share of the row", fraction=0.04)
    return figure


def _count_size(size: int) -> float:
    return 10 if size <= 8 else 8 if size <= 16 else 7


def draw_reliability(analysis: Analysis) -> Figure:
    """Precision of the detections in ten bins of score, and how many there are; on the diagonal scores are right."""
    calibration = analysis.calibration
    figure = Figure(figsize=(6, 6.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    left, width = calibration.edges[:-1], np.diff(calibration.edges)
    upper.bar(
        left, np.nan_to_num(calibration.precision), width, align="edge", edgecolor="white", label="true positives"
    )
    upper.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1, label="score = precision")
    upper.plot(calibration.scores, calibration.precision, "o", color="black", markersize=5, label="at the mean score")
    upper.set(ylabel="precision at IoU 0.5", xlim=(0, 1), ylim=(0, 1.02))
    upper.grid(color="0.9")
    upper.set_axisbelow(True)
    upper.legend(fontsize="small", loc="upper left")
    _mark_operating(upper, analysis.confidence)
    bars = lower.bar(left, calibration.counts, width, align="edge", edgecolor="white", color="0.6")
    lower.bar_label(bars, [str(count) if count else "" for count in calibration.counts], fontsize="small")
    lower.margins(y=0.25)
    lower.set(xlabel="score", ylabel="detections")
    _mark_operating(lower, analysis.confidence)
    error = "no detection" if np.isnan(calibration.error) else f"expected calibration error {calibration.error:.3f}"
    figure.suptitle(f"detections from confidence {analysis.confidence:.3g} on: {error}", fontsize="medium")
    return figure


def _mark_operating(axes: Axes, confidence: float) -> None:
    axes.axvline(confidence, color="0.3", linestyle=":", linewidth=1)
