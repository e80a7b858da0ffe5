"""Every option of `--data.*`. The docstring under each field is its help text on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from yolo.boxes.letterbox import LetterboxMode
from yolo.errors import require_ranges

BadLabelPolicy = Literal["error", "skip"]
Split = Literal["train", "val"]

# Option -> lowest and highest value that makes sense.
_RANGES: dict[str, tuple[float, float]] = {
    "mosaic_prob": (0, 1),
    "hsv_h": (0, 1),
    "hsv_s": (0, 1),
    "hsv_v": (0, 1),
    "degrees": (0, 180),
    "translate": (0, 1),
    "scale": (0, 0.99),
    "shear": (0, 44),
    "perspective": (0, 1),
    "flip_lr": (0, 1),
    "flip_ud": (0, 1),
    "data_fraction": (1e-6, 1),
    "close_mosaic_epochs": (0, float("inf")),
    "batch_size": (1, float("inf")),
    "num_workers": (0, float("inf")),
    "prefetch_factor": (1, float("inf")),
    "shapes_train": (1, 999_999),
    "shapes_val": (1, 999_999),
    "shapes_size": (64, 4096),
    "shapes_seed": (0, float("inf")),
}


@dataclass(frozen=True)
class SourceOptions:
    """Where images and labels come from."""

    format: Literal["coco", "yolo", "shapes"] = "coco"
    """Annotation format: COCO JSON, YOLO txt files, or the embedded dataset of drawn shapes, which needs no files."""
    root: str = "data/coco"
    """Folder of the dataset; the other paths may be relative to it."""
    train_images: str | None = None
    """Training images: a folder, or for YOLO also a .txt list of paths.
    Default: train2017 for COCO; for YOLO `train` of data.yaml, else images/train."""
    val_images: str | None = None
    """Validation images: a folder, or for YOLO also a .txt list of paths.
    Default: val2017 for COCO; for YOLO `val` of data.yaml, else images/val."""
    train_ann: str | None = None
    """COCO file of the training split. Default: annotations/instances_train2017.json."""
    val_ann: str | None = None
    """COCO file of the validation split. Default: annotations/instances_val2017.json."""
    train_labels: str | None = None
    """YOLO labels of the training images. Default: the path of the images with `labels` for its last `images`."""
    val_labels: str | None = None
    """YOLO labels of the validation images. Default: the path of the images with `labels` for its last `images`."""
    train_split: str | None = None
    """Text file with one image name per line, with or without extension: train on these images only."""
    val_split: str | None = None
    """Text file with one image name per line, with or without extension: validate on these images only."""
    on_bad_label: BadLabelPolicy = "error"
    """A label that cannot be right (malformed, outside the image, without area): stop there, or skip and count it.
    COCO boxes without area are always skipped and counted, since COCO's own files have some."""
    data_fraction: float = 1.0
    """Use this fraction of the images of both splits, the same of each class by the first object of an image, drawn
    from the seed; a class keeps one image at least."""
    shapes_train: int = 800
    """Number of training images of the embedded dataset."""
    shapes_val: int = 160
    """Number of validation images of the embedded dataset."""
    shapes_size: int = 180
    """Typical side in pixels of the images of the embedded dataset."""
    shapes_seed: int = 0
    """Which embedded dataset is drawn; not tied to the training seed, so that every run measures on the same images."""


@dataclass(frozen=True)
class AugmentOptions:
    """How training images are varied."""

    mosaic_prob: float = 1.0
    """Probability that a training sample is a mosaic of four images."""
    hsv_h: float = 0.015
    """Hue is multiplied by a factor of 1 +- this."""
    hsv_s: float = 0.7
    """Saturation is multiplied by a factor of 1 +- this."""
    hsv_v: float = 0.4
    """Brightness is multiplied by a factor of 1 +- this."""
    degrees: float = 0.0
    """Rotation by up to +- this many degrees."""
    translate: float = 0.1
    """Shift by up to +- this fraction of the image size."""
    scale: float = 0.9
    """Size is multiplied by a factor of 1 +- this."""
    shear: float = 0.0
    """Shear by up to +- this many degrees along each axis."""
    perspective: float = 0.0
    """Perspective: up to +- this change of scale per pixel (0.0005 is strong at 640); a horizon never comes in view."""
    flip_lr: float = 0.5
    """Probability of a left-right flip."""
    flip_ud: float = 0.0
    """Probability of an upside-down flip."""
    close_mosaic_epochs: int = 15
    """No mosaic in the last this many epochs."""


@dataclass(frozen=True)
class DataOptions(AugmentOptions, SourceOptions):
    """All options of the data module; a value out of range is a UserError."""

    batch_size: int = 16
    """Images per batch on each device, in training and validation."""
    num_workers: int = 8
    """Processes that prepare batches; 0 prepares them in the training process. Batches do not depend on it."""
    start_method: Literal["fork", "spawn"] | None = None
    """How these processes are started; null for Python's own choice. Batches do not depend on it."""
    pin_memory: bool = True
    """Copy batches into page-locked memory when there is a CUDA device."""
    prefetch_factor: int = 4
    """Batches that each worker prepares ahead."""
    letterbox: LetterboxMode = "center"
    """Where an image of another shape sits inside the input: centre, or top left corner."""

    def __post_init__(self) -> None:
        require_ranges(self, _RANGES, "data.")
