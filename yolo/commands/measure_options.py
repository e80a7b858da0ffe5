"""How a checkpoint is measured: what `validate` and its like take, in parts."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from yolo.tiling import Tiling


@dataclass(frozen=True)
class CheckpointOption:
    """What is measured."""

    checkpoint: Path
    """Checkpoint written by `yolo fit`, or a file that `yolo export` made of one."""


@dataclass(frozen=True)
class NetworkOptions:
    """How a network sees images; what is None comes from the checkpoint."""

    iou: float | None = None
    """Boxes of one class overlapping more than this are duplicates."""
    size: tuple[int, ...] | None = None
    """Side of the square network input in pixels, or height and width."""
    tile: int | None = None
    """See large images through square windows of this side in pixels, merged by one NMS."""
    overlap: float | None = None
    """Part of a window that the next one shows too. Default: 0.2."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] | None = None
    """Arithmetic of the network."""
    network: str | None = None
    """Import path of the checkpoint's network, when that is code of your own."""

    def __post_init__(self) -> None:
        _ = self.tiling  # wrong windows are refused before any work

    @property
    def tiling(self) -> Tiling | None:
        """The windows, if images are seen through some."""
        if self.tile is None and self.overlap is None:
            return None
        from yolo.tiling import tiling_option

        return tiling_option(self.tile, self.overlap)


@dataclass(frozen=True)
class DetectionOptions(NetworkOptions):
    """Which detections of a network count."""

    conf: float | None = None
    """Lowest score of a detection that enters the metrics."""
    max_det: int | None = None
    """Most detections per image."""


@dataclass(frozen=True)
class MeasureOptions(DetectionOptions, CheckpointOption):
    """How a checkpoint is measured."""

    conf_prod: float | None = None
    """Confidence at which precision, recall and F1 are reported."""
    batch_size: int | None = None
    """Images per batch on each device; metrics do not depend on it."""
    workers: int | None = None
    """Processes that read images; metrics do not depend on it."""
    devices: int = 1
    """Number of devices that share the images out among themselves."""

    @classmethod
    def of(cls, options: NetworkOptions, **given: Any) -> MeasureOptions:
        """Of another command's options those that it has too, and `given` ones."""
        shared = {item.name: getattr(options, item.name) for item in fields(cls) if hasattr(options, item.name)}
        return cls(**{**shared, **given})
