"""The charts of a report: curves over confidence, precision over recall, reliability, and the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from yolo.evaluation.analysis import Analysis
from yolo.evaluation.operating_point import Floats
from yolo.report.chart import Chart, span

NAMED_CLASSES = 12
MOST_LINES = 200
"""Classes with a line of their own, those with most objects; more are a black surface and a large file."""
STEP = 10
"""Of the 1001 confidences every tenth can be read, 0.00, 0.01, ... 1.00, and is drawn when classes are many."""
MOST_EPOCHS = 400

_GROUPS = (
    ("quality", "Validation", "value", ("val/mAP", "val/mAP50", "val/mAP75", "val/AR100")),
    ("operating", "Validation at the operating confidence", "value", ("val/precision", "val/recall", "val/f1")),
    ("losses", "Training losses", "loss", ("train/box", "train/cls", "train/dfl")),
    ("rate", "Learning rate", "rate", ("train/lr",)),
)


def confidence_charts(analysis: Analysis) -> list[Chart]:
    """Precision, recall and F1 over confidence, then precision over recall; none without ground truth."""
    curves = analysis.curves
    if not len(curves.classes):
        return []
    drawn = _drawn_classes(analysis)
    charts = []
    for label in ("precision", "recall", "F1"):
        values: Floats = getattr(curves, label.lower())
        chart = Chart(label.lower(), f"{label[0].upper()}{label[1:]} over confidence", "confidence", label)
        _class_lines(chart, analysis, drawn, np.broadcast_to(curves.thresholds, values[drawn].shape), values[drawn])
        mean = values.mean(axis=0)
        chart.add("mean of the classes", curves.thresholds, mean, "mean")
        told = []
        for name, point in (("operating point", analysis.point), ("best F1", analysis.best)):
            height = getattr(point, label.lower())
            chart.mark(name, point.confidence, height, diamond=name != "operating point")
            told.append(f"{height:.3f} at confidence {point.confidence:.3f} ({name})")
        chart.text = f"Mean {label} of {len(curves.classes)} classes: {', '.join(told)}."
        charts.append(chart)
    return [*charts, _precision_recall(analysis, drawn)]


def _precision_recall(analysis: Analysis, drawn: np.ndarray) -> Chart:
    chart = Chart("pr", "Precision over recall", "recall", "precision")
    some = analysis.curves.recall > 0
    recall = np.where(some, analysis.curves.recall, np.nan)[drawn]
    precision = np.where(some, analysis.curves.precision, np.nan)[drawn]
    _class_lines(chart, analysis, drawn, recall, precision)
    for name, point in (("operating point, mean", analysis.point), ("best F1, mean", analysis.best)):
        chart.mark(name, point.recall, point.precision, diamond=name.startswith("best"))
    chart.text = (
        f"At the operating point the classes' mean precision is {analysis.point.precision:.3f} "
        f"and their mean recall {analysis.point.recall:.3f}; AP50 is {analysis.summary['AP50']:.3f}."
    )
    return chart


def _drawn_classes(analysis: Analysis) -> np.ndarray:
    """Rows of the curves that get a line."""
    objects = np.array([analysis.classes[c].objects for c in analysis.curves.classes])
    return np.sort(np.argsort(-objects, kind="stable")[:MOST_LINES])


def _class_lines(chart: Chart, analysis: Analysis, drawn: np.ndarray, x: Floats, y: Floats) -> None:
    """Lines of the classes `drawn` through x, y [K, 1001]; of many classes only every tenth point."""
    named = len(analysis.curves.classes) <= NAMED_CLASSES
    step = 1 if named else STEP
    for row, curve in enumerate(drawn):
        name = analysis.class_names[analysis.curves.classes[curve]]
        chart.add(name if named else "", x[row, ::step], y[row, ::step], row if named else "many")


def values_at(analysis: Analysis) -> dict[str, Any]:
    """Values of the curves for the page's script: of the mean, and of the classes when they are few."""
    curves = analysis.curves
    few = len(curves.classes) <= NAMED_CLASSES
    three = [getattr(curves, name)[:, ::STEP] for name in ("precision", "recall", "f1")]
    rows = [("mean of the classes", [values.mean(axis=0) for values in three])] if len(curves.classes) else []
    if few and len(curves.classes) > 1:
        rows += [(analysis.class_names[c], [values[row] for values in three]) for row, c in enumerate(curves.classes)]
    return {
        "start": round(analysis.confidence * 100),
        "rows": [{"name": name, "values": [values.round(4).tolist() for values in lines]} for name, lines in rows],
    }


def reliability_chart(analysis: Analysis) -> Chart:
    """Precision over mean score of the bins."""
    chart = Chart("reliability", "Reliability", "mean score of a bin", "precision")
    calibration = analysis.calibration
    chart.add("score = precision", [0, 1], [0, 1], "many")
    chart.add("detections", calibration.scores, calibration.precision, "l0 d0")
    filled = calibration.counts > 0
    for score, precision in zip(calibration.scores[filled], calibration.precision[filled], strict=True):
        chart.mark("", float(score), float(precision))
    chart.text = (
        "No detection reaches the operating confidence."
        if np.isnan(calibration.error)
        else f"Expected calibration error {calibration.error:.3f}; the table holds the bins."
    )
    return chart


def training_charts(rows: Sequence[Mapping[str, str | float | None]]) -> list[Chart]:
    """A chart for each group of columns that has values; the last value of an epoch counts, which starts at 1 here."""
    charts = []
    for key, title, unit, columns in _GROUPS:
        series = {column: _by_epoch(rows, column) for column in columns}
        series = {column: points for column, points in series.items() if points}
        if not series:
            continue
        epochs = [epoch for points in series.values() for epoch in points]
        first, last = min(epochs), max(epochs)
        share = unit == "value"
        y_range = (0.0, 1.0) if share else span([list(points.values()) for points in series.values()])
        chart = Chart(f"training-{key}", title, "epoch", unit, (first, max(last, first + 1)), y_range, whole=True)
        for number, (column, points) in enumerate(series.items()):
            x, y = _thinned(np.array(list(points)), np.array(list(points.values())))
            chart.add(column.partition("/")[2], x, y, number)
        ends = (f"{column.partition('/')[2]} {list(points.values())[-1]:.4g}" for column, points in series.items())
        chart.text = f"Epochs {first} to {last}; last values: {', '.join(ends)}."
        charts.append(chart)
    return charts


def _by_epoch(rows: Sequence[Mapping[str, str | float | None]], column: str) -> dict[int, float]:
    """Epoch from 1 -> value, in order; cells that are empty or no finite number are left out."""
    values: dict[int, float] = {}
    for row in rows:
        cell, epoch = row.get(column), row.get("epoch")
        if cell in (None, "") or epoch in (None, ""):
            continue
        assert cell is not None
        assert epoch is not None
        if np.isfinite(float(cell)):
            values[int(float(epoch)) + 1] = float(cell)
    return dict(sorted(values.items()))


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_EPOCHS)).round().astype(int))
    return x[kept], y[kept]
