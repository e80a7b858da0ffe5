"""Every option of `--data.*`. The docstring under each field is its help text on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from yolo.boxes.letterbox import LetterboxMode
from yolo.data.keys import SecretStr
from yolo.errors import require_ranges

BadLabelPolicy = Literal["error", "skip"]
Split = Literal["train", "val"]

# Option -> lowest and highest value that makes sense.
_RANGES: dict[str, tuple[float, float]] = {
    "mosaic_prob": (0, 1),
    "mosaic_9_prob": (0, 1),
    "mosaic_pool": (0, float("inf")),
    "mixup_prob": (0, 1),
    "mixup_alpha": (1e-3, float("inf")),
    "cutmix_prob": (0, 1),
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
    "image_buffer_mb": (0, float("inf")),
    "jpeg_quality": (1, 100),
    "cache_max_memory_gb": (0, float("inf")),
    "cache_workers": (1, float("inf")),
    "shapes_train": (1, 999_999),
    "shapes_val": (1, 999_999),
    "shapes_size": (64, 4096),
    "shapes_seed": (0, float("inf")),
}


_BBOX_MOSAIC_RANGES: dict[str, tuple[float, float]] = {
    "prob": (0, 1),
    "degrees": (0, 360),
    "translate": (0, 1),
    "scale": (0, 0.99),
    "shear": (0, 44),
    "perspective": (0, 1),
    "hsv_h": (0, 1),
    "hsv_s": (0, 1),
    "hsv_v": (0, 1),
    "jitter": (0, 1),
}


class SplitPlaces(NamedTuple):
    """What the options say about where a split is; None for the usual place."""

    images: str | None
    annotations: str | None
    labels: str | None
    split_file: Path | None
    """The list of the images to use."""


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

    def places(self, split: Split) -> SplitPlaces:
        """The options of one split."""
        images, annotations, labels, names = (
            getattr(self, f"{split}_{what}") for what in ("images", "ann", "labels", "split")
        )
        return SplitPlaces(images, annotations, labels, Path(self.root) / names if names else None)


@dataclass(frozen=True)
class BBoxMosaicOptions:
    """A 2 x 2 grid of single objects, each cut out, turned and coloured by itself.

    The four chosen objects are never cropped; neighbours seen in their crop keep their labels when at least half of
    them shows.
    """

    prob: float = 0.0
    """Probability that a training sample is a bbox mosaic; it goes before all other compositions."""
    degrees: float = 0.0
    """Rotation of each object by up to +- this many degrees."""
    translate: float = 0.0
    """Shift of each object by up to +- this fraction of its quadrant, as far as the quadrant leaves room."""
    scale: float = 0.0
    """Size of each object is multiplied by a factor of 1 +- this, as far as it still fits its quadrant."""
    shear: float = 0.0
    """Shear of each object by up to +- this many degrees along each axis."""
    perspective: float = 0.0
    """Perspective of each object: up to +- this change of scale per pixel."""
    hsv_h: float = 0.0
    """Hue of each object is multiplied by a factor of 1 +- this."""
    hsv_s: float = 0.0
    """Saturation of each object is multiplied by a factor of 1 +- this."""
    hsv_v: float = 0.0
    """Brightness of each object is multiplied by a factor of 1 +- this."""
    jitter: float = 0.0
    """Where each object lies in its quadrant: 0 in the centre, 1 anywhere up to the edges."""

    def __post_init__(self) -> None:
        require_ranges(self, _BBOX_MOSAIC_RANGES, "data.bbox_mosaic.")


@dataclass(frozen=True)
class AugmentOptions:
    """How training images are varied."""

    mosaic_prob: float = 1.0
    """Probability that a training sample is a mosaic of several images."""
    mosaic_9_prob: float = 0.0
    """Probability that a mosaic has nine images and not four."""
    mosaic_pool: int = 256
    """The further images of a mosaic, MixUp or CutMix come from the same block of this many images in the epoch's
    random order, so that a buffer of that many decoded images serves them; 0 for the whole dataset."""
    bbox_mosaic: BBoxMosaicOptions = field(default_factory=BBoxMosaicOptions)
    """Compositions of single objects; the chosen ones are never cropped."""
    mixup_prob: float = 0.15
    """Probability that a mosaic is blended with another one."""
    mixup_alpha: float = 32.0
    """The share of the first mosaic is drawn from Beta(alpha, alpha): the larger, the nearer to one half."""
    cutmix_prob: float = 0.0
    """Probability that a rectangle of another image is pasted into a sample that is no mosaic."""
    colour: Literal["exact", "fast", "device"] = "exact"
    """How hsv_h, hsv_s and hsv_v are applied: exactly; fast, by a closed form that leaves the hue alone; or exactly,
    on the device that trains, to whole batches (bbox mosaics and MixUp: by the loader)."""
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
    """No mosaic, bbox mosaic, MixUp or CutMix in the last this many epochs."""


@dataclass(frozen=True)
class CacheOptions:
    """What is kept between runs, and how; nothing is ever written to the dataset folder unless cache_dir says so."""

    cache_labels: bool = True
    """Parse the labels once and keep them in the cache folder until a file of the dataset changes."""
    cache_images: Literal["none", "ram", "disk"] = "none"
    """Read the images from a cache: none; ram, read into memory at the start; disk, read as needed. A cache that is
    missing or out of date is built first."""
    cache_format: Literal["jpeg", "raw"] = "jpeg"
    """Images in the cache: jpeg, small; or raw pixels, lossless and much faster to read."""
    jpeg_quality: int = 95
    """Quality of jpeg images in the cache, 1 to 100."""
    cache_lz4: bool = False
    """Compress raw images by LZ4: saves a tenth of the space and costs most of the speed."""
    cache_resize_images: bool = True
    """Shrink images that are larger than the network's input before they enter the cache; null or false keeps the
    original size."""
    cache_dir: str | None = None
    """Folder of the caches. Default: a folder for the dataset in YOLO_CACHE_DIR, else in the user's cache folder."""
    cache_max_memory_gb: float = 8.0
    """A cache larger than this is not read into memory at the start but as needed."""
    cache_workers: int | None = None
    """Threads that build a cache; null for one per core."""
    cache_sync: bool = False
    """Wait for the disk at each step of building a cache, not only at its end."""
    cache_refresh: bool = False
    """Build the cache anew even if it is up to date."""
    cache_only: bool = False
    """Take images, labels, class names and splits from the cache alone; the dataset's files are not looked at."""
    cache_encrypt: bool = False
    """Encrypt everything in the cache by AES-256-GCM; needs the key."""
    encryption_key: SecretStr | None = field(default=None, repr=False)
    """Key of encrypted images and caches, 64 hexadecimal digits. Default: the environment variable
    YOLO_ENCRYPTION_KEY, which is the safer place."""
    image_buffer_mb: int = 256
    """Decoded images that each worker keeps for further mosaics, in MiB; not used with a raw cache."""


@dataclass(frozen=True)
class DataOptions(AugmentOptions, CacheOptions, SourceOptions):
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
        if isinstance(self.bbox_mosaic, Mapping):  # as a checkpoint has it
            object.__setattr__(self, "bbox_mosaic", BBoxMosaicOptions(**self.bbox_mosaic))
        require_ranges(self, _RANGES, "data.")

    def public(self) -> dict[str, Any]:
        """Everything as plain values but the key: what a checkpoint may hold."""
        return {name: value for name, value in asdict(self).items() if name != "encryption_key"}
