"""What the dashboard looks like is in `dashboards/`. After a change that is meant:

YOLO_RENEW_SNAPSHOTS=1 pytest tests/evaluation/test_dashboard.py
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from tests.evaluation.known_answers import load, needs_known_answers
from tests.evaluation.test_coco import detections, ground_truth
from yolo.evaluation.analysis import Analysis, analyse
from yolo.evaluation.coco import CocoEvaluation
from yolo.evaluation.dashboard import DashboardContext, print_dashboard, trend_figures

FOLDER = Path(__file__).parent / "dashboards"
ODD = [
    "[red]not red[/red]",
    "信号機と横断歩道のある交差点の歩行者",
    "two\nlines \x1b[31mand more of a very long name",
    "naïve",
]


def scene(classes: int, *, truths: bool = True, found: bool = True, names: list[str] | None = None) -> Analysis:
    """Some ten objects per class on as many images: found, misplaced, mistaken for the next class, or not at all."""
    count = 10 * classes
    row = np.arange(count)
    label, images = row % classes, row // classes + 1
    corner = np.stack([10 + label % 20 * 40, 10 + label // 20 * 40], axis=1).astype(float)
    boxes = np.concatenate([corner, corner + 20 + label[:, None] % 7], axis=1)
    seen = (row * 7 % 10 > 1) if found else np.zeros(count, bool)
    shift = np.where(row % 5 == 0, 4.0, (row % 3).astype(float))[:, None]
    shown = np.where(row % 7 == 3, (label + 1) % classes, label)
    scores = 0.15 + 0.8 * (row * 37 % 101) / 101
    real = (row % 9 != 4) if truths else np.zeros(count, bool)
    evaluation = CocoEvaluation(
        ground_truth(range(1, 11), images[real], label[real], boxes[real].reshape(-1, 4)),
        detections(images[seen], shown[seen], (boxes + shift)[seen].reshape(-1, 4), scores[seen]),
        range(1, classes + 1),
    )
    return analyse(evaluation, names or [f"class {number}" for number in range(classes)], 0.25)


def context(analysis: Analysis) -> DashboardContext:
    now = trend_figures(analysis)
    history = [{name: value * (0.4 + 0.07 * i) for name, value in now.items()} for i in range(8)]
    return DashboardContext(
        epoch=25, max_epochs=100, image_size=(640, 640), iou=0.65, max_detections=300, best_before=0.3,
        history=[*history, now],
    )  # fmt: skip


CASES = {
    "1-class": lambda: scene(1, names=["ship"]),
    "3-classes": lambda: scene(3, names=["red blood cell", "white blood cell", "platelet"]),
    "300-classes": lambda: scene(300),
    "no-detections": lambda: scene(3, found=False),
    "no-ground-truth": lambda: scene(3, truths=False),
    "odd-names": lambda: scene(4, names=ODD),
}


def printed(analysis: Analysis, width: int, given: DashboardContext | None = None, encoding: str = "utf-8") -> str:
    """What a log file gets."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding)
    print_dashboard(Console(file=stream, width=width), analysis, given or context(analysis))
    stream.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("case", CASES)
def test_looks_as_it_did(case: str, width: int) -> None:
    text = "".join(f"{line.rstrip()}\n" for line in printed(CASES[case](), width).splitlines())
    path = FOLDER / f"{case}-{width}.txt"
    if os.environ.get("YOLO_RENEW_SNAPSHOTS"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("case", CASES)
def test_nothing_wraps_and_no_control_code_reaches_a_log(case: str, width: int) -> None:
    text = printed(CASES[case](), width)
    assert "\x1b" not in text
    lines = text.splitlines()
    assert max(map(cell_len, lines)) <= width
    for line in lines:  # each box is closed on the line it is opened on
        assert line.count("╭") == line.count("╮")
        assert line.count("│") % 2 == 0 or "│" in line.rstrip()[-1:], line


def test_two_columns_on_a_wide_terminal() -> None:
    narrow, wide = (printed(CASES["300-classes"](), width).splitlines() for width in (80, 160))
    assert len(wide) < 0.7 * len(narrow)
    sections = ("Evaluation", "Quality", "Operating point", "Error health", "Trend of the last 9", "Threshold sweep")
    for section in (*sections, "Best classes", "Worst classes", "Top confusions", "What errors cost"):
        assert any(section in line for line in narrow), section
        assert any(section in line for line in wide), section
    assert any("Evaluation" in line and "Best classes" in line for line in wide)


def test_a_narrow_terminal_cuts_the_right_edge_and_changes_no_number() -> None:
    analysis = CASES["3-classes"]()
    narrow, wide = (printed(analysis, width).splitlines() for width in (50, 80))
    assert [line.rstrip() for line in narrow] == [line[:50].rstrip() for line in wide]


def test_plain_characters_where_the_stream_has_no_others() -> None:
    text = printed(CASES["odd-names"](), 80, encoding="ascii")
    assert text.isascii()
    assert "na?ve" in text
    assert "..." in text
    assert "[red]not red[/red]" in text


def row_of(text: str, heading: str) -> list[str]:
    """Cells of the row two lines below the headings that begin with `heading`."""
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.strip("│ ").startswith(heading))
    return [cell.strip() for cell in lines[at + 2].strip("│").split("│")]


@needs_known_answers
def test_numbers_are_those_of_the_analysis_to_six_decimals() -> None:
    evaluation, names, expected = load()
    analysis = analyse(evaluation, names, 0.25)
    text = printed(analysis, 80)
    stats = expected["stats"]
    assert row_of(text, "AP50-95") == [f"{stats[k]:.6f}" for k in ("AP", "AP50", "AP75", "AR100", "APs", "APm", "APl")]
    point, best = analysis.point, analysis.best
    shown = [f"{value:.6f}" for value in (point.precision, point.recall, point.f1, best.f1)]
    assert row_of(text, "P@0.25") == [*shown, f"{best.confidence:.3f}"]
    errors = analysis.errors
    assert row_of(text, "TP")[:3] == [
        str(n) for n in (errors.true_positives, errors.false_positives, errors.false_negatives)
    ]
    for number in analysis.sweep:
        assert (
            f"│       {number.confidence:.2f} │ {number.precision:.4f} │ {number.recall:.4f} │ {number.f1:.4f} │"
            in text
        )


def test_few_classes_are_listed_once() -> None:
    analysis = scene(6)
    text = printed(analysis, 80, replace(context(analysis), top_n=3)).split("Top confusions")[0]
    assert [text.count(f"│ class {number} ") for number in range(6)] == [1] * 6
    assert "Worst" not in text
    text = printed(scene(7), 80, replace(context(analysis), top_n=3))
    assert "Worst classes" in text
    best, worst = (
        re.findall(r"│ (class \d) ", part) for part in text.split("Top confusions")[0].split("Worst classes")
    )
    assert len(best) == len(worst) == 3
    assert not set(best) & set(worst)
    ranked = [c.name for c in scene(7).ranked_classes()]
    assert (best, worst) == (ranked[:3], ranked[:3:-1])


def test_new_best_or_the_difference() -> None:
    analysis = CASES["3-classes"]()
    ap = analysis.summary["AP"]
    base = context(analysis)
    assert "[NEW BEST] (+0.0100)" in printed(analysis, 80, replace(base, best_before=ap - 0.01))
    assert "(-0.0100 to the best)" in printed(analysis, 80, replace(base, best_before=ap + 0.01))
    assert "(as the best)" in printed(analysis, 80, replace(base, best_before=ap))
    assert "[NEW BEST] " in printed(analysis, 80, replace(base, best_before=None))
    assert "BEST" not in printed(analysis, 80, DashboardContext())  # not in a training
    assert "BEST" not in printed(CASES["no-ground-truth"](), 80)


def test_colours_on_a_terminal() -> None:
    analysis = CASES["3-classes"]()

    def coloured(before: float) -> str:
        stream = io.StringIO()
        console = Console(file=stream, width=80, force_terminal=True, color_system="standard")
        print_dashboard(console, analysis, replace(context(analysis), best_before=before))
        return stream.getvalue()

    assert "\x1b[1;32m[NEW BEST]" in coloured(0.0)
    assert "\x1b[31m(-" in coloured(1.0)


def test_no_trend_before_there_are_two_evaluations() -> None:
    analysis = CASES["1-class"]()
    assert "Trend" not in printed(analysis, 80, replace(context(analysis), history=[trend_figures(analysis)]))
    assert "Trend of the last 2" in printed(analysis, 80, replace(context(analysis), history=[{"F1": 0.1}] * 2))


def test_costs_of_errors_without_detections_are_dashes() -> None:
    table = printed(CASES["no-detections"](), 80).split("What errors cost")[1]
    assert len(re.findall(r"│ +- │$", table, re.MULTILINE)) == 6
