"""Curves as pictures: the one file of the evaluation that needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from yolo.evaluation.coco import CocoEvaluation
from yolo.evaluation.operating_point import ConfidenceCurves, Floats, confidence_curves
from yolo.whole_file import whole_file

THRESHOLDS = np.linspace(0, 1, 501)
NAMED_CLASSES = 12  # more lines than this are not told apart by colour


def save_curves(evaluation: CocoEvaluation, class_names: Sequence[str], folder: Path) -> list[Path]:
    """Write P_curve.png, R_curve.png, F1_curve.png (against confidence) and PR_curve.png, all at IoU 0.5.

    Classes without ground truth are left out; so is everything when no class has any.

    Returns:
        The files written.
    """
    curves = confidence_curves(evaluation, THRESHOLDS)
    if not len(curves.classes):
        return []
    folder.mkdir(parents=True, exist_ok=True)
    names = [class_names[c] for c in curves.classes]
    written = []
    for letter, label, values in (
        ("P", "precision", curves.precision),
        ("R", "recall", curves.recall),
        ("F1", "F1", curves.f1),
    ):
        figure = _figure(names, np.broadcast_to(curves.thresholds, values.shape), values, "confidence", label)
        written.append(_save(figure, folder / f"{letter}_curve.png"))
    written.append(_save(_precision_recall(names, curves), folder / "PR_curve.png"))
    return written


def _precision_recall(names: Sequence[str], curves: ConfidenceCurves) -> Figure:
    """Precision over recall, up to the threshold at which a class has no detection left."""
    some = curves.recall > 0
    recall, precision = np.where(some, curves.recall, np.nan), np.where(some, curves.precision, np.nan)
    return _figure(names, recall, precision, "recall", "precision", mean=False)


def _figure(names: Sequence[str], x: Floats, y: Floats, x_label: str, y_label: str, *, mean: bool = True) -> Figure:
    """A line per class, x and y [K, T]; with `mean` the average over the classes too, with its peak in the legend."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    named = len(names) <= NAMED_CLASSES
    for row, name in enumerate(names):
        axes.plot(x[row], y[row], linewidth=1, color=None if named else "0.75", label=name if named else None)
    if mean:
        average = y.mean(axis=0)
        peak = int(average.argmax())
        label = f"mean of {len(names)} classes, highest {average[peak]:.3f} at {x[0, peak]:.3f}"
        axes.plot(x[0], average, linewidth=2.5, color="black", label=label)
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(color="0.9")
    if mean or named:
        axes.legend(fontsize="small")
    return figure


def _save(figure: Figure, path: Path) -> Path:
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=100)
    return path
