"""How figures are called and written wherever a person reads them."""

from __future__ import annotations

from yolo.evaluation.sparkline import is_defined

QUALITY = {
    "AP50-95": "AP",
    "AP50": "AP50",
    "AP75": "AP75",
    "AR@100": "AR100",
    "APs": "APs",
    "APm": "APm",
    "APl": "APl",
}
"""Heading -> name in `Analysis.summary`."""
TIDE_WORDS = {
    "Cls": "right place, wrong class",
    "Loc": "right class, badly placed box",
    "Both": "wrong class and badly placed",
    "Dupe": "detected a second time",
    "Bkg": "detection where nothing is",
    "Miss": "object without a detection",
}


def figure(value: float, decimals: int = 4, unknown: str = "-") -> str:
    """A share with a fixed number of decimals; a dash where COCO or the data do not define it (-1, NaN)."""
    return f"{value:.{decimals}f}" if is_defined(value) else unknown
