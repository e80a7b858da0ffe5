"""The part of a confusion matrix that can be read: all, or the classes with most errors and one row for the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo.evaluation.analysis import Analysis

BACKGROUND = "background"


@dataclass(frozen=True)
class ConfusionView:
    """Rows are true classes, columns detected ones; the last of both is background."""

    names: tuple[str, ...]
    """[K]"""
    counts: NDArray[np.int64]
    """[K, K]"""
    shares: NDArray[np.float64]
    """[K, K] counts divided by the sum of their row, 0 in an empty row."""
    note: str
    """What was left out; empty when nothing was."""


def confusion_view(analysis: Analysis, most: int) -> ConfusionView:
    """At most `most` classes, those with most errors, in their usual order; the others are summed into one row."""
    matrix, names = analysis.confusion, analysis.class_names
    note = ""
    if len(names) > most:
        wrong = matrix - np.diag(np.diag(matrix))
        errors = (wrong.sum(axis=0) + wrong.sum(axis=1))[:-1]
        chosen = np.sort(np.argsort(-errors, kind="stable")[: most - 1])
        rest = np.setdiff1d(np.arange(len(names)), chosen)
        groups = np.zeros((len(chosen) + 2, len(matrix)), np.int64)  # which rows go into which
        groups[np.arange(len(chosen)), chosen] = 1
        groups[-2, rest] = 1
        groups[-1, -1] = 1
        matrix = groups @ matrix @ groups.T
        names = (*(names[c] for c in chosen), f"{len(rest)} others")
        note = f"the {len(chosen)} classes with most errors; {len(rest)} others in one row and column"
        if mixed := int(wrong[np.ix_(rest, rest)].sum()):
            note += f", {mixed} confusions among them"
    total = matrix.sum(axis=1, keepdims=True)
    return ConfusionView((*names, BACKGROUND), matrix, matrix / np.maximum(total, 1), note)
