"""Checkpoints and exported files on one dataset: accuracy, latency, size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from yolo.commands.measure_options import MeasureOptions
from yolo.commands.measurement import Measurement, prepare
from yolo.export.accuracy import Accuracy, FileFigures

if TYPE_CHECKING:
    from rich.console import Console

    from yolo.commands.export_job import Job
    from yolo.evaluation.evaluator import Metrics
    from yolo.latency import Latency

IMAGES = 32
"""Up to as many images are taken in turn."""


def wide_console(columns: int = 110) -> Console:
    """For tables that lose their figures on lines of 80 characters, which files are taken to have."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, markup=False, width=max(Console().width, columns))


@dataclass(frozen=True)
class Rounds:
    """How latency is measured."""

    batch: int = 1
    warmup: int = 3
    runs: int = 30


@dataclass(frozen=True)
class FileRow:
    """What `yolo benchmark` finds of a file."""

    path: Path
    figures: FileFigures
    throughput: float
    """Images per second in batches."""
    memory: int
    """Bytes that it takes, from being opened to its detections."""


def measure_latency(measurements: Sequence[Measurement], rounds: Rounds) -> list[dict[str, Latency]]:
    """Latency of each, in turn, on images of the validation split; ms per batch."""
    from yolo.benchmark import latency_in_turn

    images = measurements[0].pictures(IMAGES)
    candidates = [measurement.candidate() for measurement in measurements]
    return latency_in_turn(candidates, images, batch=rounds.batch, warmup=rounds.warmup, runs=rounds.runs)


def figures_of(measurement: Measurement, metrics: Metrics, latency: dict[str, Latency]) -> FileFigures:
    """What was measured of one."""
    summary, best, point = metrics.evaluation.summary, metrics.analysis.best, metrics.point
    return FileFigures(
        ap=summary["AP"],
        ap50=summary["AP50"],
        precision=point.precision,
        recall=point.recall,
        f1=point.f1,
        best_f1=best.f1,
        best_confidence=best.confidence,
        latency=latency["total"],
        forward=latency["forward"],
        size=measurement.module.model.deploy().cost[1],
    )


def measure_accuracy(job: Job, path: Path) -> Accuracy:
    """The checkpoint of a job and the file made of it on the job's dataset, both in 32-bit arithmetic on the CPU."""
    assert job.measured is not None
    assert job.dataset is not None
    how = MeasureOptions(path, device="cpu")
    both = [job.measured, prepare(how, job.measured.datamodule.options, job.dataset.loader)]
    rounds = Rounds()
    latencies = measure_latency(both, rounds)
    metrics = [measurement.run() for measurement in both]
    checkpoint, file = (figures_of(*entry) for entry in zip(both, metrics, latencies, strict=True))
    return Accuracy(
        checkpoint,
        file,
        images=len(metrics[0].records),
        confidence=metrics[0].confidence,
        threads=torch.get_num_threads(),
        runs=rounds.runs,
        max_drop=job.options.max_drop,
    )
