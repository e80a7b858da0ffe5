"""`yolo qat-finetune`: train a trained network on, as INT8 hardware will compute it."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from yolo.errors import UserError, require_ranges
from yolo.options import parse_options

if TYPE_CHECKING:
    from yolo.models.checkpoint import ModelCard
    from yolo.training.callbacks.checkpoint import BestCheckpoint

SHORT = {"checkpoint": "c", "output": "o"}
CALLBACK = "yolo.training.callbacks.QATCallback"
MODEL = {"optimizer": "adamw", "warmup_epochs": 0.0, "backbone_lr_scale": 1.0, "head_lr_scale": 1.0,
         "freeze_backbone": False, "freeze_layers": None, "freeze_until_epoch": 0, "compile": False}  # fmt: skip
"""What is not as in the run of the float network: its rates are for networks that begin."""
FROM_CHECKPOINT = (
    "model_config",
    "network_args",
    "class_width",
    "weight_path",
    "num_classes",
    "class_names",
    "image_size",
)


@dataclass(frozen=True)
class QATOptions:
    """Train a trained network on with INT8 arithmetic simulated, from ranges that calibration images give it.

    Data, loss, thresholds and seed are those of the checkpoint's run; every option of `yolo fit` with a dot in its name
    (--data.root, --trainer.devices, --model.optimizer, ...) may be given too. What is validated and kept as best is
    computed in the integers that the TFLite file computes in.
    """

    checkpoint: Path
    """Checkpoint of `yolo fit`, the network in float."""
    config: Path | None = None
    """Config whose data section says what to train on; that of the checkpoint's run when left out."""
    epochs: int = 20
    """Number of epochs."""
    lr: float = 1e-4
    """Learning rate at the start, of AdamW."""
    batch_size: int = 16
    """Images per batch on each device."""
    backend: Literal["qnnpack", "x86", "fbgemm"] = "qnnpack"
    """Where the network will run. All mean one recipe, TFLite's INT8: activations per tensor, weights per channel,
    no range reduced; XNNPACK runs it on ARM and x86 alike."""
    freeze_bn_after: int = 5
    """Epochs at whose start the ranges are found anew; then they are held. (Batch normalisation is part of the
    convolutions from the start.)"""
    val_every: int = 1
    """Epochs from one validation to the next."""
    output: Path = Path("runs/qat")
    """Folder of the run's numbered folder."""
    export_tflite: bool = False
    """Write the best checkpoint as an INT8 TFLite file, model_int8.tflite in the run's folder, with its report."""
    calibration_images: Path | None = None
    """Folder of images that the ranges come from; training images of the dataset when left out."""
    num_calibration: int = 256
    """At most as many of them are used."""
    keep_float: str | None = None
    """Parts of the network that stay in float: names or patterns such as head.box.*, with commas between them."""
    distill: float = 0.0
    """Weight of a loss that holds the network to the checkpoint's; 1.0 is usual, 0 is none."""
    ckpt_path: str | None = None
    """Checkpoint of such a run to go on from, or `last`. Also spelled --ckpt_path, as for `yolo fit`."""
    network: str | None = None
    """Import path of the checkpoint's network, when that is code of your own."""

    def __post_init__(self) -> None:
        most = float("inf")
        ranges = {"epochs": (1, most), "lr": (1e-12, most), "batch_size": (1, most), "freeze_bn_after": (0, most),
                  "val_every": (1, most), "num_calibration": (1, most), "distill": (0, most)}  # fmt: skip
        require_ranges(self, ranges, "--")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    own, others = split_arguments(arguments)
    options = parse_options(QATOptions, "qat-finetune", own, short=SHORT)
    card = float_card(options.checkpoint)
    _refuse(options, others, card)
    from yolo.commands.fit import make_cli
    from yolo.lightning_output import options_at_fault, quiet
    from yolo.training.callbacks.checkpoint import best_checkpoint

    quiet()
    with tempfile.TemporaryDirectory() as folder, options_at_fault():
        file = Path(folder) / "qat.json"  # JSON is YAML
        file.write_text(json.dumps(run_config(options, others, card)), encoding="utf-8")
        resume = ["--ckpt_path", options.ckpt_path] if options.ckpt_path else []
        cli = make_cli(["--config", str(file), *others, *resume])
    run = Path(cli.trainer.log_dir or "")  # asks all processes
    if options.export_tflite and cli.trainer.is_global_zero:
        _export(best_checkpoint(cli.trainer), run, others)


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command's own arguments, and those of `yolo fit`: options with a dot in their names, with their values."""
    own: list[str] = []
    others: list[str] = []
    taker = own
    for item in arguments:
        if item.startswith("-") and not item.lstrip("-")[:1].isdigit():
            taker = others if item.startswith("--") and "." in item.partition("=")[0] else own
            item = re.sub("^--ckpt_path", "--ckpt-path", item)
        taker.append(item)
    return own, others


def float_card(path: Path) -> ModelCard:
    """What the checkpoint says about itself. UserError when it is none of a network in float."""
    from yolo.models.checkpoint import CARD_KEY, ModelCard, read_checkpoint
    from yolo.quantization import QUANTIZED_NETWORK

    card = ModelCard.from_dict(read_checkpoint(path)[CARD_KEY])
    if card.network.name == QUANTIZED_NETWORK:
        raise UserError(
            f"--checkpoint is {path}, whose network is quantised already: give the one it was trained from, and "
            "--ckpt_path to go on with a run"
        )
    return card


def run_config(options: QATOptions, others: Sequence[str], card: ModelCard) -> dict[str, Any]:
    """The config of `yolo fit` that the options stand for, beside the `others` that it gets as they are."""
    from yolo.quantization.network import QuantizedNetwork

    keep_float = [pattern.strip() for pattern in (options.keep_float or "").split(",") if pattern.strip()]
    spec = QuantizedNetwork.spec(card.network, card.image_size, keep_float)
    network = {"model_config": spec.name, "network_args": spec.args, "image_size": list(card.image_size)}
    images = options.calibration_images
    callback = {
        "freeze_after": options.freeze_bn_after,
        "calibration_images": None if images is None else str(images),
        "num_calibration": options.num_calibration,
        "distill": options.distill,
        "teacher": str(options.checkpoint) if options.distill else None,
    }
    logger = {"save_dir": str(options.output.parent), "name": options.output.name}
    return {
        "seed_everything": card.config["trainer"]["seed"],
        "model": {
            **card.config["model"],
            **MODEL,
            **network,
            "learning_rate": options.lr,
            "weight_path": str(options.checkpoint),
            "class_names": list(card.class_names),
        },
        "data": _data_section(options, others, card),
        "trainer": {
            "max_epochs": options.epochs,
            "check_val_every_n_epoch": options.val_every,
            "precision": "32-true",
            "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": logger},
            "callbacks": [{"class_path": CALLBACK, "init_args": callback}],
        },
    }


def _data_section(options: QATOptions, others: Sequence[str], card: ModelCard) -> dict[str, Any]:
    """That of the checkpoint's run, that of --config on top of it, and what the options say."""
    from yolo.commands.data_config import read_config
    from yolo.commands.measurement import stored_data
    from yolo.data.source import loader_of_run
    from yolo.shipped_configs import find_config

    data = stored_data(options.checkpoint, others if options.config is None else ["--config"])
    of_run = card.config["trainer"]["image_loader"]
    if options.config is not None:
        data = {**data, **read_config(find_config(str(options.config))).data}
    named = "image_loader" in data or any(item.startswith("--data.image_loader") for item in others)
    if data.get("format") != "shapes" and not named and loader_of_run(of_run) is not None:
        data = {**data, "image_loader": {"class_path": of_run}}
    return {"letterbox": card.letterbox, **data, "batch_size": options.batch_size}


def _refuse(options: QATOptions, others: Sequence[str], card: ModelCard) -> None:
    """UserError for what can be known to be wrong before anything is built."""
    import yolo.quantization.network  # noqa: F401  needs torchao
    from yolo.export.tflite import TFLiteConfig, require
    from yolo.models.checkpoint import allow_network
    from yolo.quantization.calibration import folder_images

    for item in others:
        name = item.partition("=")[0].removeprefix("--model.").partition(".")[0]
        if item.startswith("--model.") and name in FROM_CHECKPOINT:
            raise UserError(f"--model.{name} comes from --checkpoint, whose network is trained on: leave it out")
    otherwise = {"--trainer.max_epochs", "--trainer.check_val_every_n_epoch"} & {o.partition("=")[0] for o in others}
    if options.val_every > options.epochs and not otherwise:
        raise UserError(f"--val-every is {options.val_every}, but there are only {options.epochs} epochs")
    if options.export_tflite:
        require(TFLiteConfig(quantization="int8"))
    if options.calibration_images is not None and options.ckpt_path is None:
        folder_images(options.calibration_images, 1, card.image_size, card.letterbox, "--calibration-images")
    allow_network(options.network)
    if not card.network.is_known:
        raise UserError(
            f"{options.checkpoint}: its network {card.network.name!r} is code of your own: name it with --network"
        )


def _export(checkpoint: BestCheckpoint | None, run: Path, others: list[str]) -> None:
    """The best checkpoint's file, measured on the data of the run, whose key is in no file."""
    from yolo.commands.export import main as export

    best = checkpoint.best_path if checkpoint else None
    if best is None:
        raise UserError("--export-tflite finds no best checkpoint: this run has written none")
    target, data = run / "model_int8.tflite", ["--config", str(run / "config.yaml"), *key_of(others)]
    export(["--checkpoint", str(best), "--format", "tflite", "--output", str(target), *data])


def key_of(others: list[str]) -> list[str]:
    """The option with the key, if it was given, out of options of `yolo fit`."""
    flag = "--data.encryption_key"
    for number, item in enumerate(others):
        if item == flag or item.startswith(f"{flag}="):
            return others[number : number + (2 if item == flag else 1)]
    return []
