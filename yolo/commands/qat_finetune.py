"""`yolo qat-finetune`: train a trained network on, as INT8 hardware will compute it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from yolo.errors import UserError, require_ranges
from yolo.options import parse_options

if TYPE_CHECKING:
    from yolo.models.checkpoint import ModelCard

SHORT = {"checkpoint": "c", "output": "o"}
CALLBACK = "yolo.training.callbacks.QATCallback"
MODEL = {"optimizer": "adamw", "warmup_epochs": 0.0, "freeze_backbone": False, "freeze_layers": None,
         "freeze_until_epoch": 0, "compile": False}  # fmt: skip
"""What is not as in the run of the float network: its rates are for networks that begin."""


@dataclass(frozen=True)
class QATOptions:
    """Train a trained network on with INT8 arithmetic simulated, from ranges that calibration images give it.

    Data, loss, thresholds and seed are those of the checkpoint's run; every option of `yolo fit` with a dot in its name
    (--data.root, --trainer.devices, --model.optimizer, ...) may be given too. What is validated, kept as best and
    written into checkpoints is the simulated INT8 network.
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
    """Epochs after which ranges are held. (Batch normalisation is part of the convolutions from the start.)"""
    val_every: int = 1
    """Epochs from one validation to the next."""
    output: Path = Path("runs/qat")
    """Folder of the run's numbered folder."""
    export_tflite: bool = False
    """Write the best checkpoint as an INT8 TFLite file, model_int8.tflite in the run's folder, with its report."""
    calibration_images: Path | None = None
    """Folder of images that the ranges start from; training images of the dataset when left out."""
    num_calibration: int = 256
    """At most as many of them are used."""
    keep_float: str | None = None
    """Parts of the network that stay in float: names or patterns such as head.box.*, with commas between them."""
    distill: float = 0.0
    """Weight of a loss that holds the network to the checkpoint's; 1.0 is usual, 0 is none."""
    ckpt_path: str | None = None
    """Checkpoint of such a run to go on from, or `last`."""

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
    _require_packages()
    from yolo.commands.fit import make_cli
    from yolo.lightning_output import options_at_fault, quiet

    quiet()
    with tempfile.TemporaryDirectory() as folder, options_at_fault():
        file = Path(folder) / "qat.json"  # JSON is YAML
        file.write_text(json.dumps(run_config(options, card)), encoding="utf-8")
        resume = ["--ckpt_path", options.ckpt_path] if options.ckpt_path else []
        cli = make_cli(["--config", str(file), *_data_config(options.config, Path(folder)), *others, *resume])
        if options.export_tflite and cli.trainer.is_global_zero:
            _export(Path(cli.trainer.log_dir or ""))


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command's own arguments, and those of `yolo fit`: options with a dot in their names, with their values."""
    own: list[str] = []
    others: list[str] = []
    taker = own
    for item in arguments:
        if item.startswith("-") and not item.lstrip("-")[:1].isdigit():
            taker = others if "." in item.partition("=")[0] else own
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


def run_config(options: QATOptions, card: ModelCard) -> dict[str, Any]:
    """The config of `yolo fit` that the options stand for."""
    from yolo.quantization.network import QuantizedNetwork

    keep_float = [pattern for pattern in (options.keep_float or "").split(",") if pattern]
    spec = QuantizedNetwork.spec(card.network, card.image_size, keep_float)
    network = {"model_config": spec.name, "network_args": spec.args, "image_size": list(card.image_size)}
    trained = card.config["trainer"]
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
        "seed_everything": trained["seed"],
        "model": {
            **card.config["model"],
            **MODEL,
            **network,
            "learning_rate": options.lr,
            "weight_path": str(options.checkpoint),
            "class_names": list(card.class_names),
        },
        "data": {**card.config["data"], "batch_size": options.batch_size, "letterbox": card.letterbox},
        "trainer": {
            "max_epochs": options.epochs,
            "check_val_every_n_epoch": options.val_every,
            "precision": "32-true",
            "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": logger},
            "callbacks": [{"class_path": CALLBACK, "init_args": callback}],
        },
    }


def _data_config(config: Path | None, folder: Path) -> list[str]:
    """Arguments with the data section of the user's config alone."""
    if config is None:
        return []
    import yaml

    from yolo.shipped_configs import find_config

    path = find_config(str(config))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a config in YAML ({' '.join(str(error).split())[:200]})") from error
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(data, dict):
        raise UserError(f"--config is {path}, which has no section `data`")
    file = folder / "data.json"
    kept = {name: value for name, value in data.items() if name not in ("image_size", "seed")}
    file.write_text(json.dumps({"data": kept}), encoding="utf-8")
    return ["--config", str(file)]


def _require_packages() -> None:
    from importlib.util import find_spec

    if find_spec("torchao") is None:
        raise UserError("quantisation-aware training needs torchao: pip install 'yolo[tflite]'")


def _export(run: Path) -> None:
    from yolo.commands.export import main as export

    target = run / "model_int8.tflite"
    checkpoint = run / "checkpoints" / "best.ckpt"
    export(["--checkpoint", str(checkpoint), "--format", "tflite", "--quantization", "int8", "--output", str(target)])
