"""What commands that evaluate leave behind: one place for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    metrics: Metrics, options: OutcomeOptions, settings: Mapping[str, Any], benchmark: Benchmark | None = None
) -> list[Path]:
    """Write what the options ask for.

    Args:
        metrics: the evaluation.
        options: what, and where.
        settings: how it was measured, as plain values.
        benchmark: latencies measured beside it.

    Returns:
        The files.
    """
    written: list[Path] = []
    if options.save_json:
        written += _write_json(metrics, options.output, settings, benchmark)
    return written


def _write_json(metrics: Metrics, folder: Path, settings: Mapping[str, Any], benchmark: Benchmark | None) -> list[Path]:
    from yolo.evaluation.metrics_file import plain, write_metrics
    from yolo.evaluation.results_file import write_detections, write_ground_truth

    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / name for name in ("metrics.json", "predictions.json", "ground_truth.json")]
    sections = {"settings": settings} | ({} if benchmark is None else {"benchmark": plain(benchmark)})
    write_metrics(metrics.analysis, files[0], **sections)
    write_detections(metrics.evaluation, files[1])
    write_ground_truth(metrics.evaluation, metrics.records, metrics.class_names, files[2])
    return files
