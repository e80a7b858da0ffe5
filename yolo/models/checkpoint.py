"""What a checkpoint says about itself, and the one reader of checkpoints.

A checkpoint stands alone: beside the weights it holds a `ModelCard`, so that predicting or validating needs no config.
It is always read with `weights_only=True`: tensors, containers and numbers, nothing that can run.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolo.boxes.letterbox import LetterboxMode
from yolo.errors import UserError
from yolo.models.detection_model import DetectionModel
from yolo.models.registry import MODELS, build_model
from yolo.models.weights.pickles import check_sums

CARD_KEY = "yolo_card"
CARD_VERSION = 1
WEIGHTS_PREFIX = "model."


@dataclass(frozen=True)
class NetworkSpec:
    """Which network to build: plain data, so that it fits into a checkpoint."""

    name: str
    """A name of the registry (v9-t, v9-s, v9-m, v9-c, v9-e) or the import path of a `DetectionModel` subclass."""
    class_width: int | None = None
    """Hidden width of the class branch; the registry's default when None."""
    args: dict[str, Any] = field(default_factory=dict)
    """Constructor options of a network given by import path."""

    @property
    def is_known(self) -> bool:
        """Whether building it imports no module that is not imported yet."""
        module = self.name.rpartition(".")[0]
        return module.partition(".")[0] in ("", "yolo") or module in sys.modules

    def constructor(self) -> Callable[..., DetectionModel]:
        """What builds the network from `num_classes`. UserError when the name means nothing."""
        if "." in self.name:
            return partial(_network_class(self.name), **self.args)
        if self.name not in MODELS:
            raise UserError(f"unknown model {self.name!r}: expected one of {', '.join(MODELS)} or an import path")
        return partial(build_model, self.name, class_width=self.class_width)

    def build(self, num_classes: int) -> DetectionModel:
        """The network with random weights. UserError when its constructor refuses the options."""
        constructor = self.constructor()
        try:
            return constructor(num_classes=num_classes)
        except (TypeError, ValueError) as error:
            raise UserError(f"network {self.name!r} cannot be built: {error}") from error


@dataclass(frozen=True)
class ModelCard:
    """Everything but the weights that running a detector takes."""

    network: NetworkSpec
    class_names: tuple[str, ...]
    """Names shown to people."""
    category_ids: tuple[int, ...]
    """COCO category id of every class, for results files."""
    image_size: tuple[int, int]
    """(height, width) the network was trained at."""
    letterbox: LetterboxMode
    """Placement of the image inside the network's input, part of the weights' meaning."""
    dataset_names: tuple[str, ...] = ()
    """Names in the dataset, where `class_names` renames them; what another dataset is compared with."""
    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Options of the run by section (`model`, `data`, `trainer`), the defaults of `yolo validate`."""
    version: int = CARD_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as stored."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ModelCard:
        """The inverse of `to_dict`."""
        values = dict(stored)
        return cls(
            network=NetworkSpec(**values.pop("network")),
            class_names=tuple(values.pop("class_names")),
            dataset_names=tuple(values.pop("dataset_names")),
            category_ids=tuple(values.pop("category_ids")),
            image_size=tuple(values.pop("image_size")),
            **values,
        )


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The contents of one of our checkpoints, tensors on the CPU, mapped from the file: what is unused takes no memory.

    Raises:
        UserError: when the file is missing, is no checkpoint, holds code, or was not written by this program.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint file")
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        check_sums(path)
    except Exception as error:  # unpickling foreign bytes can raise anything
        raise UserError(
            f"{path}: not a readable checkpoint: it is damaged or something else, or it holds more than tensors and "
            "numbers, which is never loaded because it could run code"
        ) from error
    if not isinstance(contents, dict) or CARD_KEY not in contents or "state_dict" not in contents:
        found = f"keys {sorted(map(str, contents))[:6]}" if isinstance(contents, dict) else type(contents).__name__
        raise UserError(f"{path}: expected a checkpoint written by `yolo fit`, found {found}")
    card, weights = contents[CARD_KEY], contents["state_dict"]
    if (
        not isinstance(card, dict)
        or not isinstance(weights, dict)
        or not all(isinstance(name, str) for name in weights)
    ):
        raise UserError(f"{path}: expected a card and weights by name in it, as `yolo fit` writes them")
    version = card.get("version")
    if version != CARD_VERSION:
        raise UserError(f"{path}: checkpoint format {version}, this program reads format {CARD_VERSION}")
    try:
        ModelCard.from_dict(card)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: its card is not as `yolo fit` writes it ({error!r})") from error
    return contents


def network_tensors(contents: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights in what `read_checkpoint` returned, by the network's own names: those that validation measured."""
    return {
        name.removeprefix(WEIGHTS_PREFIX): tensor
        for name, tensor in contents["state_dict"].items()
        if name.startswith(WEIGHTS_PREFIX)
    }


def load_model(path: str | Path) -> tuple[DetectionModel, ModelCard]:
    """The network of a checkpoint in eval mode, with the weights that validation measured, and its card."""
    contents = read_checkpoint(path)
    card = ModelCard.from_dict(contents[CARD_KEY])
    if not card.network.is_known:
        raise UserError(
            f"{path}: its network {card.network.name!r} is code of your own, which a checkpoint may not import by "
            "itself: name it with --network, or import its module before Detector.load"
        )
    model = card.network.build(len(card.class_names))
    try:
        model.load_state_dict(network_tensors(contents))
    except RuntimeError as error:
        raise UserError(
            f"{path}: the weights do not fit the network {card.network.name!r} they name: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    return model.eval(), card


def allow_network(import_path: str | None) -> None:
    """Import the module of a network of one's own, so that checkpoints may name it. UserError when it cannot be."""
    if import_path is not None:
        NetworkSpec(import_path).constructor()


def _network_class(import_path: str) -> type[DetectionModel]:
    module_name, _, class_name = import_path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        known = ", ".join(MODELS)
        raise UserError(f"network {import_path!r} cannot be imported ({error}); built in are {known}") from error
    if not (isinstance(found, type) and issubclass(found, DetectionModel)):
        raise UserError(
            f"network {import_path!r} is no subclass of yolo.models.detection_model.DetectionModel, but {found!r}"
        )
    return found
