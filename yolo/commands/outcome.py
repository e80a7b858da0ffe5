"""What commands that evaluate leave behind: one place for all of them."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo import __version__
from yolo.errors import UserError

if TYPE_CHECKING:
    from yolo.benchmark import Benchmark
    from yolo.evaluation.evaluator import Metrics


@dataclass(frozen=True)
class OutcomeOptions:
    """What is written about an evaluation, and where."""

    output: Path = Path("validation_results")
    """Folder of the results."""
    save_plots: bool = True
    """Draw the curves."""
    save_json: bool = True
    """Write metrics.json, all numbers; predictions.json, the detections as a COCO results file; and
    ground_truth.json, the annotations they were evaluated against, as a COCO file."""


def require_output(options: OutcomeOptions) -> None:
    """UserError when the results cannot be written: known before the work, not after it."""
    wanted = options.save_plots or options.save_json
    if wanted and options.output.exists() and not options.output.is_dir():
        raise UserError(f"--output is {options.output}, which is a file, expected a folder")


def write_outcome(
    metrics: Metrics,
    options: OutcomeOptions,
    settings: Mapping[str, Any],
    benchmark: Benchmark | None = None,
    *,
    coco_files: bool = True,
) -> list[Path]:
    """Write what the options ask for.

    Args:
        metrics: the evaluation.
        options: what, and where.
        settings: how it was measured, as plain values.
        benchmark: latencies measured beside it.
        coco_files: write the detections and the annotations too; not where they came from such files.

    Returns:
        The files.
    """
    if not options.save_json:
        return []
    from yolo.evaluation.metrics_file import plain, write_metrics
    from yolo.evaluation.results_file import write_detections, write_ground_truth

    folder = options.output
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "metrics.json"]
    sections = {"settings": settings} | ({} if benchmark is None else {"benchmark": plain(benchmark)})
    write_metrics(metrics.analysis, written[0], **sections)
    if coco_files:
        written += [folder / "predictions.json", folder / "ground_truth.json"]
        write_detections(metrics.evaluation, written[1])
        write_ground_truth(metrics.evaluation, metrics.records, metrics.class_names, written[2])
    return written


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of Python, of this program and of installed packages, none of which is imported."""
    return {"python": platform.python_version(), "yolo": __version__, **{name: version(name) for name in packages}}
