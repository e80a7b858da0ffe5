"""Latency, throughput and memory of a deployed detector, from images to detections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolo.boxes.letterbox import LetterboxMode
from yolo.boxes.nms import NMSOptions, non_max_suppression
from yolo.inference import lay_out, letterboxed, to_network_input
from yolo.latency import Latency, PeakMemory, Stage, measure_in_turn, measure_stages
from yolo.models.detection_model import DetectionModel, Maps

if TYPE_CHECKING:
    from rich.console import Console

Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A detector whose speed is measured."""

    model: DetectionModel
    """Deployed, in eval mode, on its device."""
    image_size: tuple[int, int]
    """(height, width) of its input."""
    letterbox: LetterboxMode
    """Placement of images in it."""
    options: NMSOptions
    """Thresholds."""


@dataclass(frozen=True)
class BatchFigures:
    """Batches of one size."""

    batch: int
    latency: dict[str, Latency]
    """Of preprocess (letterbox, transfer, scaling), forward, postprocess (decode, NMS) and total, in ms per batch."""
    memory: int
    """Bytes: on CUDA the most that was allocated, weights included; elsewhere the growth of this process' peak."""


@dataclass(frozen=True)
class Benchmark:
    """Figures of one network on one device."""

    device: str
    on_cuda: bool
    threads: int
    """Of torch on the CPU."""
    image_size: tuple[int, int]
    """(height, width) of the network's input."""
    confidence: float
    """Lowest score of a detection."""
    warmup: int
    runs: int
    parameters: int
    weights: int
    """Bytes of parameters and buffers, of an exported file its own."""
    batches: tuple[BatchFigures, ...]


@torch.inference_mode()
def benchmark_detector(
    candidate: Candidate, images: Sequence[Image], *, batches: Sequence[int], warmup: int, runs: int
) -> Benchmark:
    """Measure a detector with real images.

    Args:
        candidate: the detector.
        images: uint8 [H, W, 3] RGB of any sizes, taken in turn.
        batches: numbers of images per batch to measure.
        warmup: runs before those that count, for each batch size.
        runs: runs that count.
    """
    model = candidate.model
    device = model.bins.device
    stages = network_stages(candidate)
    parameters, weights = model.cost
    memory = PeakMemory()
    figures = []
    for batch in batches:
        inputs = _batches(images, batch)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        seconds = measure_stages(stages, inputs, warmup=warmup, runs=runs, synchronize=_synchronize(device))
        latency = {name: Latency.of(times, batch) for name, times in seconds.items()}
        used = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else memory.growth
        figures.append(BatchFigures(batch, latency, used))
    return Benchmark(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        on_cuda=device.type == "cuda",
        threads=torch.get_num_threads(),
        image_size=candidate.image_size,
        confidence=candidate.options.confidence,
        warmup=warmup,
        runs=runs,
        parameters=parameters,
        weights=weights,
        batches=tuple(figures),
    )


def _batches(images: Sequence[Image], size: int) -> list[list[Image]]:
    """Every image at least once, in turn, from the start again where the last batch lacks some."""
    starts = range(0, max(len(images), size), size)
    return [[images[(start + offset) % len(images)] for offset in range(size)] for start in starts]


@torch.inference_mode()
def latency_in_turn(
    candidates: Sequence[Candidate], images: Sequence[Image], *, batch: int, warmup: int, runs: int
) -> list[dict[str, Latency]]:
    """Of each detector on one device the latency of every stage and of all, in ms per batch, measured in rounds.

    Args:
        candidates: the detectors.
        images: uint8 [H, W, 3] RGB of any sizes, taken in turn.
        batch: images at a time.
        warmup: rounds before those that count.
        runs: rounds that count.
    """
    found = measure_in_turn(
        [network_stages(candidate) for candidate in candidates],
        _batches(images, batch),
        warmup=warmup,
        runs=runs,
        synchronize=_synchronize(candidates[0].model.bins.device),
    )
    return [{name: Latency.of(seconds, batch) for name, seconds in stages.items()} for stages in found]


def network_stages(candidate: Candidate) -> dict[str, Stage]:
    """What happens to a list of images, in order."""
    model = lay_out(candidate.model)
    device = model.bins.device

    def preprocess(images: list[Image]) -> Tensor:
        return to_network_input(letterboxed(images, candidate.image_size, candidate.letterbox).to(device))

    def forward(inputs: Tensor) -> Maps:
        return model(inputs)[0]

    def postprocess(maps: Maps) -> list[Tensor]:
        return non_max_suppression(model.decode(maps), candidate.options)

    return {"preprocess": preprocess, "forward": forward, "postprocess": postprocess}


def _synchronize(device: torch.device) -> Callable[[], None]:
    """Waits until the device is done; a CPU always is."""
    wait: dict[str, Callable[[], Any]] = {
        "cuda": lambda: torch.cuda.synchronize(device),
        "mps": lambda: torch.mps.synchronize(),
    }
    return wait.get(device.type, lambda: None)


def print_benchmark(console: Console, figures: Benchmark) -> None:
    """A table of the latencies, memory and size of weights below it."""
    from rich.table import Table

    height, width = figures.image_size
    console.print(
        f"Benchmark on {figures.device} ({figures.threads} CPU threads), deployed network at {height} x {width} "
        f"(height x width), confidence {figures.confidence:g}, {figures.runs} runs",
        style="bold",
    )
    table = Table("batch", "stage")
    for title in ("mean ms", "std", "p50", "p95", "p99", "images/s"):
        table.add_column(title, justify="right")
    for entry in figures.batches:
        for name, latency in entry.latency.items():
            values = (latency.mean, latency.std, latency.p50, latency.p95, latency.p99)
            cells = [f"{value:.2f}" for value in values]
            table.add_row(str(entry.batch), name, *cells, f"{latency.throughput:.1f}", end_section=name == "total")
    console.print(table)
    what = "most allocated" if figures.on_cuda else "growth of the process"
    memory = ", ".join(f"{entry.memory / 1e6:.1f} MB at batch {entry.batch}" for entry in figures.batches)
    console.print(f"memory ({what}): {memory}")
    console.print(f"weights: {figures.weights / 1e6:.1f} MB, {figures.parameters:,} parameters")
