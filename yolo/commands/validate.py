"""`yolo validate`: the metrics of a checkpoint, by the same code that measured it in training."""

from __future__ import annotations

from argparse import ArgumentParser as PlainParser
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from yolo.commands.data_config import add_data_options, parse_with_data
from yolo.commands.measurement import MeasureOptions, measure, prepare, stored_data
from yolo.commands.outcome import OutcomeOptions, conclude, require_output
from yolo.data.loaders import ImageLoader
from yolo.data.options import DataOptions
from yolo.errors import UserError, require_ranges
from yolo.options import add_options, make_parser


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
        whole = float("inf")
        require_ranges(
            self, {"devices": (1, whole), "benchmark_warmup": (0, whole), "benchmark_runs": (1, whole)}, "--"
        )
        if self.benchmark and self.devices > 1:
            raise UserError(f"--benchmark measures one device, --devices is {self.devices}")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options, data, loader = parse(arguments)
    require_output(options)
    prepared = prepare(options, data, loader)
    # First: the memory that validation leaves to be used again would hide what the network takes.
    benchmark = prepared.benchmark(options.benchmark_warmup, options.benchmark_runs) if options.benchmark else None
    metrics = prepared.run()
    if prepared.trainer.is_global_zero:
        conclude(prepared.outcome(metrics, benchmark), options)


def parse(arguments: Sequence[str]) -> tuple[ValidateOptions, DataOptions, ImageLoader | None]:
    """Options of the command and the data, and a loader of the user's own.

    What is not given comes from `--config`, then from the checkpoint.
    """
    parser = make_parser("validate", (ValidateOptions.__doc__ or "").strip())
    add_options(parser, ValidateOptions, short={"checkpoint": "c", "output": "o"})
    add_data_options(parser, short=False)
    early = PlainParser(add_help=False, allow_abbrev=False)
    early.add_argument("-c", "--checkpoint")
    known, _ = early.parse_known_args(arguments)
    stored: dict[str, Any] = stored_data(known.checkpoint, arguments, ["--config"]) if known.checkpoint else {}
    parsed, data, loader, _ = parse_with_data(parser, arguments, stored)
    return ValidateOptions(**parsed), data, loader


def validate(options: MeasureOptions, data: DataOptions, loader: ImageLoader | None = None) -> dict[str, float]:
    """Metrics of the checkpoint on the validation split, by name."""
    return measure(options, data, loader).as_dict()
