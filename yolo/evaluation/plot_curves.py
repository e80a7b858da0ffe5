"""Curves of an evaluation as matplotlib figures."""

from __future__ import annotations

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from yolo.evaluation.analysis import Analysis
from yolo.evaluation.operating_point import Floats, OperatingPoint

NAMED_CLASSES = 12  # more lines than this are not told apart by colour
DASHES = ("-", "--", ":", "-.")  # ten colours times these: two lines never look alike
MEAN = "black"


def draw_against_confidence(analysis: Analysis, label: Literal["precision", "recall", "F1"]) -> Figure:
    """A line per class and their mean over confidence; operating confidence and that of the best mean F1 are marked."""
    curves = analysis.curves
    values: Floats = getattr(curves, label.lower())
    figure, axes = _axes("confidence", label)
    _class_lines(axes, analysis, np.broadcast_to(curves.thresholds, values.shape), values)
    count = len(curves.classes)
    title = f"mean of {count} classes" if count > 1 else "the one class"
    axes.plot(curves.thresholds, values.mean(axis=0), linewidth=2.5, color=MEAN, label=title)
    for name, style, point in _points(analysis):
        height = getattr(point, label.lower())
        axes.axvline(point.confidence, color="0.3", linestyle=style, linewidth=1)
        text = f"{name} confidence {point.confidence:.3f}: {label} {height:.3f}"
        axes.plot([point.confidence], [height], marker=_marker(name), color=MEAN, linestyle="none", label=text)
    return _with_legend(figure, axes)


def draw_precision_recall(analysis: Analysis) -> Figure:
    """Precision over recall, up to the threshold at which a class has no detection left; AP50 in the legend.

    The marks are the classes' means at the operating confidence and at that of the best mean F1.
    """
    curves = analysis.curves
    some = curves.recall > 0
    recall, precision = np.where(some, curves.recall, np.nan), np.where(some, curves.precision, np.nan)
    figure, axes = _axes("recall", "precision")
    names = [f"{shown_name(analysis.classes[c].name)}, AP50 {analysis.classes[c].ap50:.3f}" for c in curves.classes]
    _class_lines(axes, analysis, recall, precision, names)
    for name, _, point in _points(analysis):
        text = f"mean at {name} confidence {point.confidence:.3f}: P {point.precision:.3f}, R {point.recall:.3f}"
        axes.plot([point.recall], [point.precision], marker=_marker(name), color=MEAN, linestyle="none", label=text)
    return _with_legend(figure, axes)


def _points(analysis: Analysis) -> tuple[tuple[str, str, OperatingPoint], ...]:
    """What is marked: name, style of the vertical line, figures."""
    return ("operating", "--", analysis.point), ("best F1", ":", analysis.best)


def _marker(name: str) -> str:
    return "o" if name == "operating" else "D"


def _axes(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(color="0.9")
    return figure, axes


def _class_lines(axes: Axes, analysis: Analysis, x: Floats, y: Floats, names: list[str] | None = None) -> None:
    """A line for each of K classes, x and y [K, T]; grey when they are too many to be told apart."""
    names = names or [shown_name(analysis.class_names[c]) for c in analysis.curves.classes]
    if len(names) > NAMED_CLASSES:
        # Together they are drawn in a fraction of the time that single lines take.
        lines = LineCollection(list(np.stack([x, y], axis=-1)), colors="0.75", linewidths=1)
        lines.set_label(f"{len(names)} classes")
        axes.add_collection(lines)
        return
    for row, name in enumerate(names):
        style = DASHES[row % len(DASHES)]
        axes.plot(x[row], y[row], linewidth=1.5, linestyle=style, color=f"C{row % 10}", label=name)


def _with_legend(figure: Figure, axes: Axes) -> Figure:
    handles, labels = axes.get_legend_handles_labels()
    columns = 1 if len(labels) <= 6 else 2
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize="small")
    return figure


def shown_name(name: str, most: int = 40) -> str:
    """A class name as matplotlib shows it letter by letter: dollars would start a formula, an underscore hides it.

    Longer than `most` it loses its middle, since names that differ often do so at the end.
    """
    half = most // 2
    short = name if len(name) <= most else f"{name[: half - 1]}…{name[-half:]}"
    shown = short.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown
