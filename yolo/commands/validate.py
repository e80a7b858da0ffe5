"""`yolo validate`: the metrics of a checkpoint, by the same code that measured it in training."""

from __future__ import annotations

from argparse import ArgumentParser as PlainParser
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from yolo.commands.data_config import add_data_options, parse_with_data
from yolo.data.loaders import ImageLoader
from yolo.data.options import DataOptions
from yolo.errors import UserError
from yolo.models.checkpoint import CARD_KEY, allow_network, read_checkpoint
from yolo.options import add_options, make_parser

if TYPE_CHECKING:
    from yolo.evaluation.evaluator import Metrics

DEVICES = {"auto": "auto", "cpu": "cpu", "cuda": "gpu", "mps": "mps"}

SPLIT_OPTIONS = (
    "data_fraction",
    "cache_only",
    *(f"{split}_{kind}" for split in ("train", "val") for kind in ("images", "ann", "labels", "split")),
)


@dataclass(frozen=True)
class ValidateOptions:
    """Measure a checkpoint on a dataset with COCO's metrics.

    Thresholds, precision and data come from the checkpoint unless they are given.
    """

    checkpoint: Path
    """Checkpoint written by `yolo fit`."""
    conf: float | None = None
    """Lowest score of a detection that enters the metrics."""
    iou: float | None = None
    """Boxes of one class overlapping more than this are duplicates."""
    max_det: int | None = None
    """Most detections per image."""
    conf_prod: float | None = None
    """Confidence at which precision, recall and F1 are reported."""
    size: int | None = None
    """Side of the square network input in pixels."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    devices: int = 1
    """Number of devices that share the images out among themselves."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] | None = None
    """Arithmetic of the network."""
    network: str | None = None
    """Import path of the checkpoint's network, when that is code of your own."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options, data, loader = parse(arguments)
    from lightning.pytorch.utilities import rank_zero_only

    from yolo.evaluation.table import print_metrics

    metrics = validate(options, data, loader)
    where = "the embedded dataset" if data.format == "shapes" else data.root
    rank_zero_only(print_metrics)(f"{options.checkpoint} on {where} ({data.format})", metrics)


def parse(arguments: Sequence[str]) -> tuple[ValidateOptions, DataOptions, ImageLoader | None]:
    """Options of the command and the data, and a loader of the user's own.

    What is not given comes from `--config`, then from the checkpoint.
    """
    parser = make_parser("validate", (ValidateOptions.__doc__ or "").strip())
    add_options(parser, ValidateOptions)
    add_data_options(parser)
    early = PlainParser(add_help=False, allow_abbrev=False)
    early.add_argument("--checkpoint")
    known, _ = early.parse_known_args(arguments)
    stored = stored_data(known.checkpoint, arguments) if known.checkpoint else {}
    parsed, data, loader, _ = parse_with_data(parser, arguments, stored)
    return ValidateOptions(**parsed), data, loader


def stored_data(checkpoint: str | Path, arguments: Sequence[str]) -> dict[str, Any]:
    """The data section of the run that wrote a checkpoint, as far as it means something with these arguments."""
    stored: dict[str, Any] = read_checkpoint(checkpoint)[CARD_KEY]["config"]["data"]
    given = {item.partition("=")[0] for item in arguments}
    if given & {"--config", "-c", "--data.root", "--data.format"}:  # another dataset: these mean nothing in it
        stored = {name: value for name, value in stored.items() if name not in SPLIT_OPTIONS}
    return stored


def validate(options: ValidateOptions, data: DataOptions, loader: ImageLoader | None = None) -> dict[str, float]:
    """Metrics of the checkpoint on the validation split, by name."""
    return measure(options, data, loader).as_dict()


def measure(options: ValidateOptions, data: DataOptions, loader: ImageLoader | None = None) -> Metrics:
    """The evaluation of the checkpoint on the validation split."""
    from lightning.pytorch import Trainer

    from yolo.data.datamodule import YOLODataModule
    from yolo.data.source import loader_of_run
    from yolo.lightning_output import options_at_fault, quiet
    from yolo.memory import memory_at_fault, validation_settings
    from yolo.size import as_size
    from yolo.training.distributed import ending_together
    from yolo.training.module import YOLOModule

    quiet()
    allow_network(options.network)
    overrides = {
        "image_size": as_size(options.size) if options.size is not None else None,
        "nms_val_conf_threshold": options.conf,
        "nms_iou_threshold": options.iou,
        "nms_max_detections": options.max_det,
        "conf_prod": options.conf_prod,
    }
    given = {name: value for name, value in overrides.items() if value is not None}
    module = YOLOModule.from_checkpoint(options.checkpoint, **given)
    assert module.card is not None
    trained = module.card.config["trainer"]
    if loader is None and data.format != "shapes":
        loader = loader_of_run(trained["image_loader"])
    datamodule = YOLODataModule(image_size=module.image_size, image_loader=loader, seed=trained["seed"], **asdict(data))
    if options.device not in DEVICES:
        raise UserError(f"--device is {options.device!r}, expected one of {', '.join(DEVICES)}")
    with options_at_fault():
        trainer = Trainer(
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            accelerator=DEVICES[options.device],
            precision=cast(Any, options.precision or trained["precision"]),
            devices=options.devices,
        )
    memory = validation_settings(trainer, module, datamodule)
    with ending_together(trainer, memory), memory_at_fault(memory):
        trainer.validate(module, datamodule=datamodule, verbose=False)
    assert module.metrics is not None
    return module.metrics
