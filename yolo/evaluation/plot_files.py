"""Detectors in files against one another, as a picture."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from yolo.evaluation.plot_curves import shown_name
from yolo.whole_file import whole_file

MARKERS = "osD^vP*"
"""Seven of them and ten colours: of seventy files no two look alike."""


@dataclass(frozen=True)
class PlottedFile:
    """A file and its two figures."""

    name: str
    ap: float
    """AP50-95."""
    p50: float
    """Latency in ms, median."""
    p95: float


def draw_files(files: Sequence[PlottedFile], threads: int) -> Figure:
    """AP50-95 over latency: lines from median to 95th percentile, and one across at the AP of the first."""
    figure = Figure(figsize=(7, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.grid(color="0.9")
    axes.axhline(files[0].ap, color="0.3", linestyle=":", linewidth=1)
    for number, file in enumerate(files):
        colour, marker = f"C{number % 10}", MARKERS[number % len(MARKERS)]
        axes.plot([file.p50, file.p95], [file.ap, file.ap], color=colour, linewidth=1.5)
        label = f"{shown_name(file.name, 60)}: AP50-95 {file.ap:.4f}, {file.p50:.1f} ms"
        axes.plot([file.p50], [file.ap], color=colour, marker=marker, markersize=8, linestyle="none", label=label)
    axes.set_xlim(left=0)
    lowest, highest = min(file.ap for file in files), max(file.ap for file in files)
    room = max(0.1 * (highest - lowest), 0.005)
    axes.set_ylim(lowest - room, highest + room)
    counted = f"{threads} CPU thread{'s' if threads > 1 else ''}"
    axes.set(xlabel=f"ms from an image to its detections, median to 95th percentile, {counted}", ylabel="AP50-95")
    figure.legend(loc="outside lower center", fontsize="small")
    return figure


def save_files_plot(files: Sequence[PlottedFile], threads: int, path: Path) -> None:
    """Write it as a PNG."""
    with whole_file(path) as partial, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box stands for a letter the font lacks
        draw_files(files, threads).savefig(partial, format="png", dpi=100)
