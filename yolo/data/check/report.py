"""The result of a check, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from yolo.data.check.findings import Finding
from yolo.data.check.statistics import ClassCount, Spread, Statistics

SHOWN_CLASSES = 30
SHOWN_PLACES = 3


def as_json(
    statistics: Mapping[str, Statistics], findings: Sequence[Finding], notes: Sequence[str], *, passed: bool
) -> dict[str, Any]:
    """Everything that the tables show, with all classes and all places."""
    return {
        "splits": {split: asdict(numbers) for split, numbers in statistics.items()},
        "findings": [{**asdict(entry), "count": entry.count} for entry in findings],
        "notes": list(notes),
        "passed": passed,
    }


def print_report(
    console: Console, statistics: Mapping[str, Statistics], findings: Sequence[Finding], notes: Sequence[str]
) -> None:
    """Numbers, classes, notes and findings."""
    console.print(_numbers(statistics))
    console.print(_classes(statistics))
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True)
    for entry in sorted(findings, key=lambda entry: (entry.severity, entry.split)):
        style = "red" if entry.severity == "error" else "yellow"
        console.print(f"{entry.severity}: {entry.split}: {entry.kind}: {entry.count}", style=style)
        for place in entry.places[:SHOWN_PLACES]:
            console.print(f"    {place}", soft_wrap=True)
        if entry.count > SHOWN_PLACES:
            console.print(f"    and {entry.count - SHOWN_PLACES} more: --json lists all")


def verdict(findings: Sequence[Finding]) -> str:
    """One line that sums up."""
    counts = {
        severity: sum(entry.count for entry in findings if entry.severity == severity)
        for severity in ("error", "warning")
    }
    return f"errors: {counts['error']}, warnings: {counts['warning']}"


def _numbers(statistics: Mapping[str, Statistics]) -> Table:
    table = Table()
    table.add_column("")
    for split in statistics:
        table.add_column(split, justify="right")
    rows = {
        "images": lambda s: f"{s.images:,}",
        "  without objects": lambda s: f"{s.background_images:,}",
        "  width": lambda s: _spread(s.width),
        "  height": lambda s: _spread(s.height),
        "  width / height": lambda s: _spread(s.aspect, 2),
        "objects": lambda s: f"{s.objects:,}",
        "  per image": lambda s: _spread(s.objects_per_image),
        "  small (under 32 x 32)": lambda s: _share(s.small, s.objects),
        "  medium": lambda s: _share(s.medium, s.objects),
        "  large (96 x 96 and over)": lambda s: _share(s.large, s.objects),
        "crowds": lambda s: f"{s.crowds:,}",
    }
    for name, cell in rows.items():
        table.add_row(name, *(cell(numbers) for numbers in statistics.values()))
    table.caption = "spreads are minimum / median / maximum"
    return table


def _classes(statistics: Mapping[str, Statistics]) -> Table:
    table = Table()
    table.add_column("class", overflow="fold")
    for split in statistics:
        table.add_column(f"{split}: objects", justify="right")
        table.add_column("images", justify="right")
    total = {
        name: sum(s.classes[name].objects for s in statistics.values() if name in s.classes)
        for numbers in statistics.values()
        for name in numbers.classes
    }
    order = sorted(total, key=lambda name: -total[name])
    for name in order[:SHOWN_CLASSES]:
        counts = [numbers.classes.get(name, ClassCount(0, 0)) for numbers in statistics.values()]
        table.add_row(name, *(f"{number:,}" for count in counts for number in (count.objects, count.images)))
    if len(order) > SHOWN_CLASSES:
        table.caption = f"and {len(order) - SHOWN_CLASSES} rarer classes: see --json"
    return table


def _spread(spread: Spread, digits: int = 0) -> str:
    return " / ".join(f"{value:.{digits}f}" for value in (spread.min, spread.median, spread.max))


def _share(count: int, total: int) -> str:
    return f"{count:,} ({count / max(total, 1):.0%})"
