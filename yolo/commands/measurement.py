"""A checkpoint against a dataset: what `validate` and `compare` measure with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from yolo.commands.measure_options import MeasureOptions
from yolo.commands.outcome import Outcome
from yolo.data.loaders import Image, ImageLoader
from yolo.data.options import DataOptions
from yolo.errors import UserError
from yolo.model_file import device_for, is_exported, read_card
from yolo.models.checkpoint import allow_network
from yolo.size import size_option
from yolo.versions import versions

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from yolo.benchmark import Benchmark, Candidate
    from yolo.data.annotations import AnnotatedImage
    from yolo.data.datamodule import YOLODataModule
    from yolo.evaluation.evaluator import Metrics
    from yolo.training.module import YOLOModule

DEVICES = {"auto": "auto", "cpu": "cpu", "cuda": "gpu", "mps": "mps"}

SPLIT_OPTIONS = (
    "data_fraction",
    "cache_only",
    *(f"{split}_{kind}" for split in ("train", "val") for kind in ("images", "ann", "labels", "split")),
)
BENCHMARK_IMAGES = 32
"""At least as many images are taken in turn, when there are."""
PACKAGES = ("torch", "lightning", "numpy", "hotcoco")


@dataclass(frozen=True)
class Measurement:
    """A checkpoint and a dataset, ready to be measured."""

    options: MeasureOptions
    module: YOLOModule
    datamodule: YOLODataModule
    trainer: Trainer

    def run(self) -> Metrics:
        """The evaluation of the checkpoint on the validation split, equal on all processes."""
        from yolo.memory import memory_at_fault, validation_settings
        from yolo.training.distributed import ending_together

        memory = validation_settings(self.trainer, self.module, self.datamodule)
        with ending_together(self.trainer, memory), memory_at_fault(memory):
            self.trainer.validate(self.module, datamodule=self.datamodule, verbose=False)
        assert self.module.metrics is not None
        return self.module.metrics

    def read_data(self, *, first: int | None = None) -> None:
        """Read the annotations of the validation split, which `run` would do later.

        Args:
            first: keep as many images of it as this, in its order; all when None.

        Raises:
            UserError: they cannot be read, or are of other classes than the checkpoint's.
        """
        from yolo.training.module import require_same_data

        self.datamodule.setup("validate")
        assert self.module.card is not None
        assert self.datamodule.val is not None
        require_same_data(self.module.card, self.datamodule)
        if first is not None:
            self.datamodule.val = replace(self.datamodule.val, images=self.datamodule.val.images[:first])

    def require_operating_point(self) -> None:
        """UserError when detections that count at the operating point do not enter the metrics."""
        lowest, operating = self.module.nms.confidence, self.module.options.conf_prod
        if lowest > operating:
            raise UserError(
                f"--conf is {lowest:g}, above the confidence of precision and recall (--conf-prod, {operating:g}), "
                "which would lack detections"
            )

    def benchmark(self, warmup: int, runs: int) -> Benchmark:
        """Latency and memory of the deployed network on images of the validation split, on one device."""
        from yolo.benchmark import benchmark_detector
        from yolo.memory import memory_at_fault, validation_settings

        batch = self.datamodule.options.batch_size
        memory = validation_settings(self.trainer, self.module, self.datamodule)
        with self.trainer.precision_plugin.val_step_context(), memory_at_fault(memory):
            return benchmark_detector(
                self.candidate(),
                self.pictures(max(2 * batch, BENCHMARK_IMAGES)),
                batches=sorted({1, batch}),
                warmup=warmup,
                runs=runs,
            )

    def candidate(self) -> Candidate:
        """The deployed detector at its operating point."""
        from yolo.benchmark import Candidate
        from yolo.boxes.nms import NMSOptions

        nms, size = self.module.nms, self.module.image_size
        operating = NMSOptions(self.module.options.conf_prod, nms.iou, nms.max_detections)
        model = self.module.model.deploy().to(self.trainer.strategy.root_device)
        return Candidate(model, size, self.datamodule.options.letterbox, operating)

    @property
    def records(self) -> list[AnnotatedImage]:
        """The images of the validation split."""
        self.datamodule.setup("validate")
        assert self.datamodule.val is not None
        return self.datamodule.val.images

    def pictures(self, most: int) -> list[Image]:
        """The first images of the validation split, uint8 [H, W, 3] RGB, as many as there are up to `most`."""
        number = min(len(self.records), most)
        pixels = self.datamodule.pixels("val")
        return [pixels(position) for position in range(number)]

    def outcome(self, metrics: Metrics, benchmark: Benchmark | None = None) -> Outcome:
        """What there is to show of an evaluation."""
        from yolo.evaluation.dashboard import DashboardContext

        data, nms = self.datamodule.options, self.module.nms
        where = "the embedded dataset" if data.format == "shapes" else data.root
        return Outcome(
            title=f"{self.options.checkpoint} on {where} ({data.format})",
            metrics=metrics,
            context=DashboardContext(image_size=self.module.image_size, iou=nms.iou, max_detections=nms.max_detections),
            settings=self.settings(),
            pixels=self.datamodule.shown_pixels("val"),
            device=str(self.trainer.strategy.root_device),
            seed=self.datamodule.seed,
            benchmark=benchmark,
        )

    def settings(self) -> dict[str, Any]:
        """What was measured and how, as plain values; without keys."""
        options, data, nms = self.options, self.datamodule.options, self.module.nms
        tiling = options.tiling
        return {
            "checkpoint": str(options.checkpoint),
            "confidence": nms.confidence,
            "iou": nms.iou,
            "max_detections": nms.max_detections,
            "operating_confidence": self.module.options.conf_prod,
            "image_size": list(self.module.image_size),
            "letterbox": data.letterbox,
            "tile": asdict(tiling) if tiling else None,
            "batch_size": data.batch_size,
            "precision": str(self.trainer.precision),
            "device": str(self.trainer.strategy.root_device),
            "devices": self.trainer.world_size,
            "data": {"root": None if data.format == "shapes" else data.root, "format": data.format},
            "versions": versions(PACKAGES),
        }


def prepare(options: MeasureOptions, data: DataOptions, loader: ImageLoader | None = None) -> Measurement:
    """Read the checkpoint and set everything up for it. UserError for what cannot be used; no data is read yet."""
    options = replace(options, device=device_for(options.checkpoint, options.device))
    if options.precision is not None and is_exported(options.checkpoint):
        raise UserError(
            f"--precision is {options.precision}, but {options.checkpoint} has the arithmetic it was exported with: "
            "leave it out"
        )
    from yolo.data.datamodule import YOLODataModule
    from yolo.data.source import loader_of_run
    from yolo.lightning_output import quiet
    from yolo.training.module import YOLOModule
    from yolo.training.tiled import TiledModule

    quiet()
    allow_network(options.network)
    tiling = options.tiling
    overrides = {
        "image_size": size_option(options.size) if options.size is not None else None,
        "nms_val_conf_threshold": options.conf,
        "nms_iou_threshold": options.iou,
        "nms_max_detections": options.max_det,
        "conf_prod": options.conf_prod,
    }
    given = {name: value for name, value in overrides.items() if value is not None}
    module = (TiledModule if tiling else YOLOModule).from_checkpoint(options.checkpoint, **given)
    assert module.card is not None
    trained = module.card.config["trainer"]
    if loader is None and data.format != "shapes":
        loader = loader_of_run(trained["image_loader"])
    loading = {"batch_size": options.batch_size, "num_workers": options.workers}
    values = asdict(data) | {name: value for name, value in loading.items() if value is not None}
    datamodule = YOLODataModule(image_size=module.image_size, image_loader=loader, seed=trained["seed"], **values)
    if tiling and isinstance(module, TiledModule):
        module.tiling = tiling
        datamodule.whole_images = True
    return Measurement(options, module, datamodule, make_trainer(options, options.precision or trained["precision"]))


def make_trainer(options: MeasureOptions, precision: str) -> Trainer:
    """Lightning on the devices asked for, silent, writing nothing."""
    from lightning.pytorch import Trainer

    from yolo.lightning_output import options_at_fault

    if options.device not in DEVICES:
        raise UserError(f"--device is {options.device!r}, expected one of {', '.join(DEVICES)}")
    with options_at_fault():
        return Trainer(
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            accelerator=DEVICES[options.device],
            precision=cast(Any, precision),
            devices=options.devices,
        )


def measure(options: MeasureOptions, data: DataOptions, loader: ImageLoader | None = None) -> Metrics:
    """The evaluation of a checkpoint on the validation split of a dataset."""
    return prepare(options, data, loader).run()


def stored_data(
    checkpoint: str | Path, arguments: Sequence[str], config_flags: Sequence[str] = ("--config", "-c")
) -> dict[str, Any]:
    """The data section of the run that wrote a checkpoint, as far as it means something with these arguments."""
    stored: dict[str, Any] = read_card(checkpoint).config["data"]
    if dataset_given(arguments, config_flags):  # another dataset: these mean nothing in it
        stored = {name: value for name, value in stored.items() if name not in SPLIT_OPTIONS}
    return stored


def dataset_given(arguments: Sequence[str], config_flags: Sequence[str] = ("--config",)) -> bool:
    """Whether the command line names a dataset."""
    given = {item.partition("=")[0] for item in arguments}
    return bool(given & {*config_flags, "--data", "--data.root", "--data.format"})
