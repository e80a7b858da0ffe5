"""`yolo benchmark`: checkpoints and exported files beside one another, on one dataset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from yolo.commands.file_figures import FileRow, Rounds, figures_of, measure_latency, wide_console
from yolo.commands.measure_options import MeasureOptions
from yolo.commands.measurement import PACKAGES, Measurement, prepare
from yolo.commands.measuring import Dataset, parse_measuring
from yolo.commands.output_place import require_place
from yolo.data.options import DataOptions
from yolo.errors import require_ranges
from yolo.models.checkpoint import allow_network
from yolo.versions import versions
from yolo.whole_file import whole_file

if TYPE_CHECKING:
    from rich.console import Console

RESULTS = ("benchmark.json", "benchmark.png")
COLUMNS = 132
"""Of the table at least."""
SHOWN = 4
"""Images that memory is measured with."""


@dataclass(frozen=True)
class BenchmarkOptions:
    """Compare checkpoints and exported files on one dataset: accuracy, latency, size, memory.

    All run on the CPU, checkpoints deployed and in 32-bit arithmetic. Data that are not given are those of the first
    file, if that is a checkpoint.
    """

    files: tuple[Path, ...]
    """Checkpoints and exported files, in the order to be shown; differences are to the first."""
    output: Path | None = None
    """Folder for benchmark.json, all numbers, and benchmark.png, accuracy against latency."""
    batch_size: int = 8
    """Images per batch that throughput is measured with."""
    threads: int | None = None
    """CPU threads of every file; those that torch takes when left out."""
    warmup: int = 5
    """Rounds before those that count."""
    runs: int = 50
    """Rounds that count; in each, every file has its turn."""
    network: str | None = None
    """Import path of the checkpoints' network, when that is code of your own."""

    def __post_init__(self) -> None:
        whole = float("inf")
        require_ranges(
            self, {"batch_size": (1, whole), "threads": (1, whole), "warmup": (0, whole), "runs": (1, whole)}, "--"
        )


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options, data, loader = parse_measuring(
        "benchmark", BenchmarkOptions, arguments, "files", positional=["files"], short={"output": "o"}
    )
    if options.output is not None:
        require_place(options.output, RESULTS, options.files, data)
    allow_network(options.network)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    measurements = prepare_all(options, Dataset(data, loader))
    rows = benchmark(measurements, options)
    settings = settings_of(measurements[0], options, data)
    show(wide_console(COLUMNS), rows, settings)
    if options.output is not None:
        write(options.output, rows, settings)
        print(f"results in {options.output}")


def prepare_all(options: BenchmarkOptions, dataset: Dataset) -> list[Measurement]:
    """Every file on the dataset, whose annotations are read. UserError for what cannot be used."""
    measurements = []
    for path in options.files:
        how = MeasureOptions(path, device="cpu", network=options.network)
        measurement = prepare_file(how, dataset)
        measurement.read_data()
        measurements.append(measurement)
    return measurements


def prepare_file(how: MeasureOptions, dataset: Dataset) -> Measurement:
    """A file on the dataset, seen through its own letterbox; a checkpoint in 32-bit arithmetic."""
    from yolo.model_file import is_exported, read_card

    data = replace(dataset.options, letterbox=read_card(how.checkpoint).letterbox)
    precision: Any = None if is_exported(how.checkpoint) else "32-true"
    return prepare(replace(how, precision=precision), data, dataset.loader)


def benchmark(measurements: Sequence[Measurement], options: BenchmarkOptions) -> list[FileRow]:
    """The figures of all, in their order."""
    from yolo.peak_memory import memory_of

    single = Rounds(1, options.warmup, options.runs)
    several = Rounds(options.batch_size, 1, max(options.runs // options.batch_size, 3))
    latencies = measure_latency(measurements, single)
    batches = measure_latency(measurements, several)
    images = measurements[0].pictures(SHOWN)
    memory = [memory_of(path, images, torch.get_num_threads(), options.network) for path in options.files]
    metrics = [measurement.run() for measurement in measurements]
    return [
        FileRow(path, figures_of(measurement, found, latency), batch["total"].throughput, peak)
        for path, measurement, found, latency, batch, peak in zip(
            options.files, measurements, metrics, latencies, batches, memory, strict=True
        )
    ]


def settings_of(first: Measurement, options: BenchmarkOptions, data: DataOptions) -> dict[str, Any]:
    """What was measured on and how, as plain values."""
    return {
        "data": {"root": None if data.format == "shapes" else data.root, "format": data.format},
        "images": len(first.records),
        "operating_confidence": first.module.options.conf_prod,
        "threads": torch.get_num_threads(),
        "warmup": options.warmup,
        "runs": options.runs,
        "batch_size": options.batch_size,
        "versions": versions(PACKAGES),
    }


def show(console: Console, rows: Sequence[FileRow], settings: dict[str, Any]) -> None:
    """Print the table."""
    from rich.table import Table

    threads = f"{settings['threads']} thread{'s' if settings['threads'] > 1 else ''}"
    where = settings["data"]["root"] or "the embedded dataset"
    console.print(
        f"{settings['images']} images of {where}; CPU, {threads}; latency from an image to its detections at batch 1, "
        f"{settings['runs']} rounds; throughput at batch {settings['batch_size']}"
    )
    table = Table()
    table.add_column("file", overflow="fold")
    for title in ("AP50-95", "to first", "AP50", "best F1", "p50 ms", "p95 ms", "images/s", "size MB", "memory MB"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        own = row.figures
        latency = [f"{value:.2f}" for value in (own.latency.p50, own.latency.p95)]
        bytes_ = [f"{value / 1e6:.2f}" for value in (own.size, row.memory)]
        accuracy = [f"{own.ap:.6f}", f"{own.ap - rows[0].figures.ap:+.6f}", f"{own.ap50:.6f}"]
        best = f"{own.best_f1:.4f} at {own.best_confidence:.3f}"
        table.add_row(str(row.path), *accuracy, best, *latency, f"{row.throughput:.1f}", *bytes_)
    console.print(table)
    console.print(
        "size: of a checkpoint its deployed weights; memory: growth of the peak of a process of its own, from opening "
        "the file to its detections, with the library and the interpreter that run it"
    )


def write(folder: Path, rows: Sequence[FileRow], settings: dict[str, Any]) -> None:
    """benchmark.json and benchmark.png."""
    from yolo.evaluation.metrics_file import plain
    from yolo.evaluation.plot_files import PlottedFile, save_files_plot

    folder.mkdir(parents=True, exist_ok=True)
    files = [{**plain(row), "path": str(row.path)} for row in rows]
    with whole_file(folder / RESULTS[0]) as partial:
        partial.write_text(json.dumps({"settings": settings, "files": files}, indent=1, allow_nan=False) + "\n")
    plotted = [PlottedFile(str(r.path), r.figures.ap, r.figures.latency.p50, r.figures.latency.p95) for r in rows]
    save_files_plot(plotted, settings["threads"], folder / RESULTS[1])
