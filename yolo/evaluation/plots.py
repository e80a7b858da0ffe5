"""All pictures of an evaluation's numbers, written to a folder. Needs matplotlib through the files it draws with."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from yolo.evaluation.analysis import Analysis
from yolo.evaluation.coco import GroundTruth
from yolo.evaluation.plot_confusion import draw_confusion, draw_reliability
from yolo.evaluation.plot_curves import draw_against_confidence, draw_precision_recall
from yolo.evaluation.plot_labels import draw_labels
from yolo.whole_file import whole_file


def save_plots(analysis: Analysis, folder: Path, ground_truth: GroundTruth | None = None) -> list[Path]:
    """Write P_curve, R_curve, F1_curve, PR_curve, confusion_matrix and reliability as .png, all at IoU 0.5.

    Classes without ground truth are left out of the curves. Nothing is written when no class has any.

    Args:
        analysis: the numbers.
        folder: made if it is missing.
        ground_truth: the evaluated annotations, for labels.png; without them that one is not drawn.

    Returns:
        The files written.
    """
    if not len(analysis.curves.classes):
        return []
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in _figures(analysis, ground_truth):
        path = folder / f"{name}.png"
        with whole_file(path) as partial, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box stands for a letter the font lacks
            figure.savefig(partial, format="png", dpi=100)
        written.append(path)
    return written


def _figures(analysis: Analysis, ground_truth: GroundTruth | None) -> Iterator[tuple[str, Figure]]:
    """One after the other, so that only one is in memory."""
    yield "P_curve", draw_against_confidence(analysis, "precision")
    yield "R_curve", draw_against_confidence(analysis, "recall")
    yield "F1_curve", draw_against_confidence(analysis, "F1")
    yield "PR_curve", draw_precision_recall(analysis)
    yield "confusion_matrix", draw_confusion(analysis)
    yield "reliability", draw_reliability(analysis)
    if ground_truth is not None:
        yield "labels", draw_labels(ground_truth, analysis.class_names)
