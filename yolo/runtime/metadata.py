"""What an exported file says about itself: one JSON record, written by `yolo export`, checked before it is believed.

The record lies inside the file where its format has room for it, and in the JSON file beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, cast, get_args

from yolo import __version__
from yolo.boxes.letterbox import LetterboxMode
from yolo.errors import UserError
from yolo.forms import Form, Quantization
from yolo.models.checkpoint import ModelCard, NetworkSpec
from yolo.models.exportable import ExportableModel

RECORD_KEY = "yolo"
"""Name of the record among the metadata of a file."""
RECORD_VERSION = 1
EVALUATED = ("nms_conf_threshold", "nms_val_conf_threshold", "nms_iou_threshold", "nms_max_detections", "conf_prod")
"""The options of the model section that detecting and measuring depend on."""
MEASURED = ("letterbox", "on_bad_label", "cache_encrypt")
"""Those of the data section, whatever the dataset. Where it lies is nobody's business who gets the file."""
SHAPES = ("format", "shapes_train", "shapes_val", "shapes_size", "shapes_seed")
"""And those that stand for the embedded dataset, which is no place."""


@dataclass(frozen=True)
class ExportRecord:
    """Everything that running an exported detector takes beside its file."""

    network: str
    """Architecture it was exported from, for people."""
    parameters: int
    """Of the deployed network."""
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    """COCO category id of every class, for results files."""
    dataset_names: tuple[str, ...]
    """Names in the dataset, where `class_names` renames them."""
    image_size: tuple[int, int]
    """(height, width) of the input."""
    letterbox: LetterboxMode
    """Placement of the image inside the input."""
    strides: tuple[int, ...]
    """Pixels per cell of each level."""
    levels: tuple[tuple[int, int], ...]
    """(height, width) in cells of each level."""
    bins: tuple[float, ...]
    """Distance in strides that each bin of the box distributions stands for."""
    form: Form
    batch: int | None = 1
    """Images per run; None for any number."""
    quantization: Quantization = "fp32"
    calibration: str | None = None
    """SHA-256 over the images that an INT8 file was calibrated with."""
    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    """As in a checkpoint's card: what `validate` and `predict` take when nothing else is given; no dataset."""
    program: str = f"yolo {__version__}"
    version: int = RECORD_VERSION

    @classmethod
    def of(
        cls,
        model: ExportableModel,
        name: str,
        card: ModelCard,
        *,
        batch: int | None = 1,
        quantization: Quantization = "fp32",
        calibration: str | None = None,
    ) -> ExportRecord:
        """What a file made of a model says about itself.

        Args:
            model: of the form of the file.
            name: of the architecture.
            card: of the checkpoint.
            batch: images per run, None for any number.
            quantization: of the file.
            calibration: digest of the images that it was calibrated with.
        """
        return cls(
            network=name,
            parameters=sum(parameter.numel() for parameter in model.network.parameters()),
            class_names=card.class_names,
            category_ids=card.category_ids,
            dataset_names=card.dataset_names,
            image_size=model.image_size,
            letterbox=card.letterbox,
            strides=model.strides,
            levels=model.levels,
            bins=tuple(model.get_buffer("bins").tolist()),
            form=model.form,
            batch=batch,
            quantization=quantization,
            calibration=calibration,
            config=evaluation_config(card),
        )

    @property
    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs by name, in order, without the batch."""
        classes, anchors = len(self.class_names), sum(height * width for height, width in self.levels)
        if self.form == "full":
            return {"output0": (4 + classes, anchors)}
        if self.form == "split":
            return {"boxes": (4, anchors), "scores": (classes, anchors)}
        shapes: dict[str, tuple[int, ...]] = {}
        for index, level in enumerate(self.levels):
            shapes[f"box_logits_{index}"] = (4 * len(self.bins), *level)
            shapes[f"class_logits_{index}"] = (classes, *level)
        return shapes

    @property
    def card(self) -> ModelCard:
        """The same in the form of a checkpoint's card."""
        return ModelCard(
            network=NetworkSpec("yolo.runtime.network.ExportedNetwork"),
            class_names=self.class_names,
            category_ids=self.category_ids,
            dataset_names=self.dataset_names,
            image_size=self.image_size,
            letterbox=self.letterbox,
            config=self.config,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return cast("dict[str, Any]", json.loads(self.to_json()))

    def to_json(self) -> str:
        """On one line."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str, where: str) -> ExportRecord:
        """The inverse of `to_json`.

        Args:
            text: of anybody.
            where: the file it comes from, for the error.

        Raises:
            UserError: it is no such record; says what was found in place of what.
        """
        try:
            stored = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: its record is no JSON ({str(error)[:120]})") from error
        version = stored.get("version") if isinstance(stored, dict) else None
        if type(version) is not int or version != RECORD_VERSION:
            raise UserError(f"{where}: record of format {version!r:.40}, this program reads format {RECORD_VERSION}")
        _require(stored, where)
        values = {name: _tuples(value) if name != "config" else value for name, value in stored.items()}
        return cls(**values)


def evaluation_config(card: ModelCard) -> dict[str, dict[str, Any]]:
    """The part of a checkpoint's config that an exported file needs; its arithmetic is its own."""
    model, data, trainer = (card.config[name] for name in ("model", "data", "trainer"))
    kept = (*MEASURED, *(SHAPES if data["format"] == "shapes" else ()))
    return {
        "model": {name: model[name] for name in EVALUATED},
        "data": {name: data[name] for name in kept if name in data},
        "trainer": {
            "precision": "32-true",
            "image_loader": trainer["image_loader"],
            "seed": trainer["seed"],
        },
    }


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _whole(value: Any, low: int = 0, high: int = 2**31) -> bool:
    return type(value) is int and low <= value <= high


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _list(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and 0 < len(value) <= 100_000 and all(map(check, value))


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _size(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_whole(side, 1, 65536) for side in value)


def _config(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"model", "data", "trainer"}:
        return False
    model, data, trainer = value["model"], value["data"], value["trainer"]
    return (
        isinstance(model, dict)
        and set(model) == set(EVALUATED)
        and all(_number(number) for number in model.values())
        and isinstance(data, dict)
        and isinstance(trainer, dict)
        and set(trainer) == {"precision", "image_loader", "seed"}
        and trainer["precision"] == "32-true"
        and _text(trainer["image_loader"])
        and _whole(trainer["seed"])
    )


_CHECKS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "network": (_text, "a name"),
    "parameters": (lambda value: _whole(value, high=2**60), "a number"),
    "class_names": (_list(_text), "a list of names"),
    "category_ids": (_list(lambda value: _whole(value, high=2**60)), "a list of numbers"),
    "dataset_names": (_list(_text), "a list of names"),
    "image_size": (_size, "height and width"),
    "letterbox": (lambda value: value in get_args(LetterboxMode), "center or corner"),
    "strides": (_list(lambda value: _whole(value, 1, 65536)), "a list of pixels"),
    "levels": (_list(_size), "a height and a width for each level"),
    "bins": (_list(_number), "a list of distances"),
    "form": (lambda value: value in get_args(Form), "full, split or raw"),
    "batch": (lambda value: value is None or _whole(value, 1), "a number or null"),
    "quantization": (lambda value: value in get_args(Quantization), "fp32, fp16, int8 or dynamic"),
    "calibration": (lambda value: value is None or _text(value), "a hash or null"),
    "config": (_config, "the sections model, data and trainer as `yolo export` writes them"),
    "program": (_text, "a name and version"),
    "version": (_whole, "a number"),
}


def _require(stored: Mapping[str, Any], where: str) -> None:
    """UserError unless every field is there, of its type, and they agree with one another."""
    names = {item.name for item in fields(ExportRecord)}
    if set(stored) != names:
        missing, unknown = sorted(names - set(stored)), sorted(set(stored) - names)
        raise UserError(f"{where}: its record lacks {missing} and has unknown {unknown}"[:300])
    for name, (check, expected) in _CHECKS.items():
        if not check(stored[name]):
            raise UserError(f"{where}: {name} in its record is {stored[name]!r:.80}, expected {expected}")
    for name in ("category_ids", "dataset_names"):
        if len(stored[name]) != len(stored["class_names"]):
            raise UserError(
                f"{where}: its record has {len(stored['class_names'])} class names, but {len(stored[name])} {name}"
            )
    if len(stored["levels"]) != len(stored["strides"]):
        raise UserError(f"{where}: its record has {len(stored['levels'])} levels and {len(stored['strides'])} strides")
