"""What commands that evaluate show and leave behind: one place for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo.commands.output_place import require_place
from yolo.data.options import DataOptions

if TYPE_CHECKING:
    from yolo.benchmark import Benchmark
    from yolo.evaluation.dashboard import DashboardContext
    from yolo.evaluation.evaluator import Metrics
    from yolo.evaluation.sheet import Pixels

RESULTS = (
    "metrics.json",
    "predictions.json",
    "ground_truth.json",
    "P_curve.png",
    "R_curve.png",
    "F1_curve.png",
    "PR_curve.png",
    "confusion_matrix.png",
    "reliability.png",
    "labels.png",
    "worst_images.jpg",
    "report.html",
)
"""All files that an evaluation may leave."""


@dataclass(frozen=True)
class OutcomeOptions:
    """What is written about an evaluation, and where."""

    output: Path = Path("validation_results")
    """Folder of the results."""
    save_plots: bool = True
    """Draw curves, confusion matrix, reliability and, unless the images are encrypted, label statistics and the images
    with most errors."""
    save_json: bool | None = None
    """Write metrics.json, all numbers; predictions.json, the detections as a COCO results file; and ground_truth.json,
    the annotations they were evaluated against, as a COCO file. These two not of encrypted images, unless this option
    is given."""
    save_report: bool = True
    """Write report.html, all of it on one page for any browser."""

    @property
    def writes(self) -> bool:
        """Whether anything is written."""
        return self.save_plots or self.save_json is not False or self.save_report


@dataclass(frozen=True)
class Outcome:
    """An evaluation and what there is to say of it beside its numbers."""

    title: str
    """What was measured on what."""
    metrics: Metrics
    context: DashboardContext
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How it was measured, as plain values."""
    pixels: Pixels | None = None
    """Gives the image of a record; None for no pictures."""
    without_pictures: str | None = None
    """Why there are no pictures; None because they are confidential."""
    device: str | None = None
    seed: int | None = None
    training: Sequence[Mapping[str, Any]] | None = None
    """Rows of the run's metrics.csv."""
    benchmark: Benchmark | None = None
    coco_files: bool = True
    """Detections and annotations are written too; not where they came from such files."""

    @property
    def confidential(self) -> bool:
        """Nothing of the images is shown, not even names."""
        return self.pixels is None and self.without_pictures is None


def require_output(options: OutcomeOptions, inputs: Iterable[Path], data: DataOptions | None = None) -> None:
    """UserError when the results cannot be written, or would go over what the command reads."""
    if options.writes:
        require_place(options.output, RESULTS, inputs, data)


def conclude(outcome: Outcome, options: OutcomeOptions) -> None:
    """Print the dashboard and write what the options ask for. For one process."""
    from rich.console import Console

    from yolo.evaluation.dashboard import print_dashboard

    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(outcome.title, style="bold")
    print_dashboard(console, outcome.metrics.analysis, outcome.context)
    if outcome.benchmark is not None:
        from yolo.benchmark import print_benchmark

        print_benchmark(console, outcome.benchmark)
    if write_outcome(outcome, options):
        console.print(f"results in {options.output}")


def write_outcome(outcome: Outcome, options: OutcomeOptions) -> list[Path]:
    """Write what the options ask for, in place of all that an earlier evaluation left there: the files."""
    written: list[Path] = []
    if options.writes:
        for name in RESULTS:
            (options.output / name).unlink(missing_ok=True)
    if options.save_json is not False:
        written += _write_json(outcome, options.output, coco_files=bool(options.save_json or not outcome.confidential))
    if options.save_plots:
        written += _write_plots(outcome, options.output)
    if options.save_report:
        written.append(write_page(outcome, options.output / "report.html"))
    return written


def _write_json(outcome: Outcome, folder: Path, *, coco_files: bool) -> list[Path]:
    from yolo.evaluation.metrics_file import plain, write_metrics
    from yolo.evaluation.results_file import write_detections, write_ground_truth

    folder.mkdir(parents=True, exist_ok=True)
    metrics, written = outcome.metrics, [folder / "metrics.json"]
    sections = {"settings": outcome.settings}
    if outcome.benchmark is not None:
        sections["benchmark"] = plain(outcome.benchmark)
    write_metrics(metrics.analysis, written[0], **sections)
    if outcome.coco_files and coco_files:
        written += [folder / "predictions.json", folder / "ground_truth.json"]
        write_detections(metrics.evaluation, written[1])
        write_ground_truth(metrics.evaluation, metrics.records, metrics.class_names, written[2])
    return written


def _write_plots(outcome: Outcome, folder: Path) -> list[Path]:
    from yolo.evaluation.plots import save_plots
    from yolo.evaluation.sheet import save_sheet

    metrics = outcome.metrics
    ground_truth = None if outcome.confidential else metrics.evaluation.ground_truth
    written = save_plots(metrics.analysis, folder, ground_truth)
    if outcome.pixels is not None:
        written.append(folder / "worst_images.jpg")
        save_sheet(metrics, outcome.pixels, written[-1])
    return written


def write_page(outcome: Outcome, path: Path) -> Path:
    """Write the report."""
    from yolo.report.content import CONFIDENTIAL, ReportContent
    from yolo.report.facts import collect_facts
    from yolo.report.write import write_report

    metrics = outcome.metrics
    facts = collect_facts(
        metrics.records,
        metrics.class_names,
        device=outcome.device,
        seed=outcome.seed,
        settings={**dict(_flat(outcome.settings)), **_benchmark_facts(outcome.benchmark)},
    )
    write_report(
        path,
        ReportContent(
            outcome.title,
            metrics,
            outcome.pixels,
            outcome.without_pictures or CONFIDENTIAL,
            training=outcome.training,
            facts=facts,
        ),
    )
    return path


def _benchmark_facts(figures: Benchmark | None) -> dict[str, str]:
    """The whole way of a batch, from images to detections."""
    facts = {}
    for entry in figures.batches if figures else ():
        total, memory = entry.latency["total"], f"memory {entry.memory / 1e6:.1f} MB"
        facts[f"benchmark at batch {entry.batch}"] = (
            f"{total.mean:.2f} ms (p95 {total.p95:.2f}), {total.throughput:.1f} images/s, {memory}"
        )
    return facts


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings in words, without the versions, which a report has anyway."""
    for name, value in settings.items():
        words = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from () if name == "versions" else _flat(value, f"{words} ")
        else:
            yield words, value
