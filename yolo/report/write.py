"""`write_report`: fills in the page and writes it."""

from __future__ import annotations

import base64
import hashlib
from decimal import Decimal
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from yolo.evaluation.analysis import Analysis
from yolo.evaluation.confusion_view import confusion_view
from yolo.evaluation.words import QUALITY, TIDE_WORDS, figure
from yolo.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from yolo.report.content import ReportContent
from yolo.report.curves import STEP, confidence_charts, reliability_chart, training_charts, values_at
from yolo.report.gallery import lowest_confidence, make_gallery, worst_rows
from yolo.whole_file import whole_file

MOST_CONFUSED = 30


def write_report(path: Path, content: ReportContent) -> None:
    """Write one HTML file that needs no other and no network; its folder is made.

    Raises:
        UserError: an image cannot be read; nothing is written then.
    """
    page = render(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def render(content: ReportContent) -> str:
    """The page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("yolo.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = partial(figure, decimals=3, unknown="–")
    style, script = (_page_file(name) for name in ("report.css", "report.js"))
    return environment.get_template("report.html").render(
        style=Markup(style),  # ours, and no visitor's: the only two texts that are not escaped
        script=Markup(script),
        policy=_policy(style, script),
        axes={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
        tide_texts=TIDE_WORDS,
        **_values(content),
    )


def _page_file(name: str) -> str:
    return (files("yolo.report") / "page" / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Content-Security-Policy: nothing is loaded but pictures in the page, nothing runs but its own script."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _values(content: ReportContent) -> dict[str, Any]:
    """Everything that the template names."""
    analysis = content.metrics.analysis
    lowest = lowest_confidence(content)
    return {
        "title": content.title,
        "analysis": analysis,
        "qualities": [(name, analysis.summary[key]) for name, key in QUALITY.items()],
        "charts": confidence_charts(analysis),
        "read_off": _read_off(analysis),
        "confusion": _confusion(analysis),
        "confusions": analysis.confusions(10),
        "reliability": reliability_chart(analysis),
        "bins": _bins(analysis),
        "slider": slider(analysis.confidence, lowest),
        "pictures": make_gallery(content, lowest),
        "without_pictures": content.without_pictures if content.pixels is None else "",
        "worst": [(content.name(row), *analysis.image_errors[row]) for row in worst_rows(content)],
        "training": training_charts(content.training or ()),
        "facts": dict(content.facts),
    }


def slider(confidence: float, lowest: float) -> dict[str, str]:
    """Start and least value of a slider with steps of 0.001: it meets the operating confidence, whatever that is."""
    start, step = Decimal(repr(float(confidence))), Decimal("0.001")
    least = start - int((start - Decimal(repr(float(lowest)))) / step) * step
    return {"start": f"{start:f}", "least": f"{least:f}", "step": f"{step:f}"}


def _read_off(analysis: Analysis) -> dict[str, Any]:
    values = values_at(analysis)
    x = [round(LEFT + number / (1000 // STEP) * (WIDTH - LEFT - RIGHT), 1) for number in range(1000 // STEP + 1)]
    return {**values, "x": x}


def _confusion(analysis: Analysis) -> dict[str, Any]:
    """Names, note and rows of (count, shade 0 to 10)."""
    view = confusion_view(analysis, MOST_CONFUSED)
    shades = np.ceil(view.shares * 10 - 1e-9).astype(int)
    rows = [list(zip(counts, shade, strict=True)) for counts, shade in zip(view.counts.tolist(), shades, strict=True)]
    return {"names": view.names, "note": view.note, "rows": rows}


def _bins(analysis: Analysis) -> list[tuple[str, int, float, float]]:
    """Score range, detections, mean score and precision of the bins that are not empty."""
    c = analysis.calibration
    edges = [f"{low:.1f}–{high:.1f}" for low, high in zip(c.edges[:-1], c.edges[1:], strict=True)]
    rows = zip(edges, c.counts.tolist(), c.scores.tolist(), c.precision.tolist(), strict=True)
    return [row for row in rows if row[1]]
