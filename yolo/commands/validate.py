"""`yolo validate`: the metrics of a checkpoint, by the same code that measured it in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yolo.commands.measure_options import MeasureOptions
from yolo.commands.measurement import prepare
from yolo.commands.measuring import parse_measuring
from yolo.commands.outcome import OutcomeOptions, conclude, require_output
from yolo.data.loaders import ImageLoader
from yolo.data.options import DataOptions
from yolo.errors import UserError, require_ranges


@dataclass(frozen=True)
class ValidateOptions(OutcomeOptions, MeasureOptions):
    """Measure a checkpoint on a dataset with COCO's metrics.

    Thresholds, precision and data come from the checkpoint unless they are given.
    """

    benchmark: bool = False
    """Measure latency, throughput and memory of the deployed network on the validation images too."""
    benchmark_warmup: int = 10
    """Runs of the benchmark before those that count."""
    benchmark_runs: int = 100
    """Runs of the benchmark that count."""

    def __post_init__(self) -> None:
        super().__post_init__()
        whole = float("inf")
        require_ranges(
            self, {"devices": (1, whole), "benchmark_warmup": (0, whole), "benchmark_runs": (1, whole)}, "--"
        )
        if self.benchmark and self.devices > 1:
            raise UserError(f"--benchmark measures one device, --devices is {self.devices}")
        if self.benchmark and self.tile is not None:
            raise UserError(f"--benchmark measures the network on whole images, --tile is {self.tile}")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options, data, loader = parse(arguments)
    require_output(options, [options.checkpoint], data)
    prepared = prepare(options, data, loader)
    prepared.require_operating_point()
    # First: the memory that validation leaves to be used again would hide what the network takes.
    benchmark = prepared.benchmark(options.benchmark_warmup, options.benchmark_runs) if options.benchmark else None
    metrics = prepared.run()
    if prepared.trainer.is_global_zero:
        conclude(prepared.outcome(metrics, benchmark), options)


def parse(arguments: Sequence[str]) -> tuple[ValidateOptions, DataOptions, ImageLoader | None]:
    """Options of the command and the data, and a loader of the user's own.

    What is not given comes from `--config`, then from the checkpoint.
    """
    short = {"checkpoint": "c", "output": "o"}
    return parse_measuring("validate", ValidateOptions, arguments, "checkpoint", short=short)
