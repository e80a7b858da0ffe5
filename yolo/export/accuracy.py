"""What an exported file is worth on a dataset, beside its checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from yolo.latency import Latency

if TYPE_CHECKING:
    from rich.console import Console


ROUNDING = 1e-9
"""What a fall may seem larger than it is: AP50-95 0.61 less 0.60 is a little more than 0.01 in binary."""


@dataclass(frozen=True)
class FileFigures:
    """A file, or a checkpoint, on the images of a dataset."""

    ap: float
    """AP50-95."""
    ap50: float
    precision: float
    """At the operating confidence, as recall and F1; means over classes at IoU 0.5."""
    recall: float
    f1: float
    best_f1: float
    """Of all confidences."""
    best_confidence: float
    """Where that is; a quantised file may have it elsewhere than its checkpoint."""
    latency: Latency
    """From an image to its detections, in ms."""
    forward: Latency
    """Of that the network alone."""
    size: int
    """Bytes of the file; of a checkpoint those of the deployed network's parameters and buffers."""


@dataclass(frozen=True)
class Accuracy:
    """A checkpoint and the file exported from it, measured alike."""

    checkpoint: FileFigures
    file: FileFigures
    images: int
    """On which they were measured."""
    confidence: float
    """Operating confidence."""
    threads: int
    """Of the CPU, when latency was measured."""
    runs: int
    """Of which the latencies are figures."""
    max_drop: float | None = None
    """How far AP50-95 may fall, absolute."""

    @property
    def drop(self) -> float:
        """Of AP50-95, absolute."""
        return self.checkpoint.ap - self.file.ap

    @property
    def failures(self) -> list[str]:
        """Why the file is not handed over, in words."""
        if self.max_drop is None:
            return []
        if self.checkpoint.ap <= 0:
            return ["--max-drop tells nothing: the checkpoint's AP50-95 on this dataset is 0"]
        if not self.drop <= self.max_drop + ROUNDING:  # so that NaN fails
            return [
                f"AP50-95 falls from {self.checkpoint.ap:.6f} (checkpoint) to {self.file.ap:.6f} (file), "
                f"by {self.drop:.6f}, where --max-drop allows {self.max_drop:g}"
            ]
        return []

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "drop": self.drop, "failures": self.failures}

    def show(self, console: Console) -> None:
        """Print it as one table."""
        from rich.table import Table

        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        console.print(
            f"on {self.images} validation images; latency of one image at a time, {self.runs} runs in turn on {threads}"
        )
        table = Table("")
        for title in ("checkpoint", "file", "difference"):
            table.add_column(title, justify="right", no_wrap=True)
        for name, value, decimals in self._rows():
            before, after = value(self.checkpoint), value(self.file)
            table.add_row(name, f"{before:.{decimals}f}", f"{after:.{decimals}f}", f"{after - before:+.{decimals}f}")
        console.print(table)

    def _rows(self) -> list[tuple[str, Any, int]]:
        """Name, how to get it, decimals."""
        at = f"at {self.confidence:g}"
        return [
            ("AP50-95", lambda figures: figures.ap, 6),
            ("AP50", lambda figures: figures.ap50, 6),
            (f"precision {at}", lambda figures: figures.precision, 4),
            (f"recall {at}", lambda figures: figures.recall, 4),
            (f"F1 {at}", lambda figures: figures.f1, 4),
            ("best F1", lambda figures: figures.best_f1, 4),
            ("its confidence", lambda figures: figures.best_confidence, 3),
            ("image to detections p50 ms", lambda figures: figures.latency.p50, 2),
            ("p95", lambda figures: figures.latency.p95, 2),
            ("network alone p50 ms", lambda figures: figures.forward.p50, 2),
            ("size MB", lambda figures: figures.size / 1e6, 2),
        ]
