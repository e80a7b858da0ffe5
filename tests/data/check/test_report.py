from __future__ import annotations

import io
import json

from rich.console import Console

from yolo.data.check.findings import Finding
from yolo.data.check.report import as_json, print_report, verdict
from yolo.data.check.statistics import ClassCount, Spread, Statistics

SPREAD = Spread(1, 2.5, 3)
FINDINGS = [
    Finding("val", "empty label files", "warning", ["a.txt: no line"]),
    Finding("train, val", "images in both splits", "error", [f"{n} is copy" for n in range(7)]),
]


def statistics(classes: int) -> Statistics:
    counts = {f"class-{number}": ClassCount(number, 1) for number in range(classes)}
    return Statistics(1200, 40, 2, 3, SPREAD, SPREAD, SPREAD, SPREAD, 10, 20, 10, counts)


def printed(classes: int) -> str:
    out = io.StringIO()
    console = Console(file=out, width=80, highlight=False, markup=False)
    print_report(console, {"train": statistics(classes), "val": statistics(classes)}, FINDINGS, ["no test split"])
    return out.getvalue()


def test_tables_fit_a_terminal() -> None:
    text = printed(3)
    assert max(map(len, text.splitlines())) <= 80
    assert "1,200" in text
    assert "10 (25%)" in text
    assert "1.00 / 2.50 / 3.00" in text
    lines = text.splitlines()
    first = lines.index("error: train, val: images in both splits: 7")
    places = [f"    {n} is copy" for n in range(3)]
    assert lines[first - 1] == "note: no test split"
    assert lines[first + 1 : first + 5] == [*places, "    and 4 more: --json lists all"]
    assert lines[first + 5] == "warning: val: empty label files: 1"


def test_many_classes() -> None:
    text = printed(45)
    assert "class-44" in text
    assert "class-14 " not in text
    assert "and 15 rarer classes" in text


def test_json_has_everything() -> None:
    content = json.loads(json.dumps(as_json({"train": statistics(45)}, FINDINGS, ["a note"], passed=False)))
    assert content["passed"] is False
    assert content["splits"]["train"]["classes"]["class-7"] == {"objects": 7, "images": 1}
    assert content["splits"]["train"]["width"] == {"min": 1, "median": 2.5, "max": 3}
    assert content["findings"][1]["count"] == len(content["findings"][1]["places"]) == 7
    assert content["notes"] == ["a note"]


def test_verdict_counts_faults() -> None:
    assert verdict(FINDINGS) == "errors: 7, warnings: 1"
    assert verdict([]) == "errors: 0, warnings: 0"
