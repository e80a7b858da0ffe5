"""What there is to say of an exported file: for people, and as JSON beside the file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo.export.accuracy import Accuracy
from yolo.export.bars import Bars
from yolo.export.config import Written
from yolo.export.parity import Parity
from yolo.runtime.metadata import ExportRecord

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class ExportReport:
    """A file and the checks it was put to."""

    name: str
    record: ExportRecord
    size: int
    """Bytes."""
    sha256: str
    """Of the file; of a folder, over the names and contents of its files in order."""
    weights: int
    """Bytes of the deployed network's parameters and buffers in float32."""
    written: Written
    parity: Parity
    accuracy: Accuracy | None = None
    """On the dataset; None when none was given."""

    @classmethod
    def of(
        cls, name: str, path: Path, record: ExportRecord, weights: int, written: Written, parity: Parity
    ) -> ExportReport:
        """Of the file at `path`, which will be called `name`."""
        size, digest = _measured(path)
        return cls(name, record, size, digest, weights, written, parity)

    def to_json(self) -> str:
        """For programs."""
        file: dict[str, Any] = {
            "name": self.name,
            "bytes": self.size,
            "sha256": self.sha256,
            "weights_bytes": self.weights,
            "operators": dict(self.written.operators),
            "notes": list(self.written.notes),
            "failures": list(self.written.failures),
        }
        document = {
            "record": self.record.to_dict(),
            "file": file,
            "parity": self.parity.to_dict(),
            "accuracy": self.accuracy.to_dict() if self.accuracy else None,
        }
        return json.dumps(document, indent=1, allow_nan=False) + "\n"

    def show(self, console: Console) -> None:
        """Print it."""
        from rich.table import Table

        record, parity, operators = self.record, self.parity, sum(self.written.operators.values())
        console.print(
            f"{self.name}: form {record.form}, {record.quantization}, {operators} operators, "
            f"{self.size / 1e6:.2f} MB ({self.size / self.weights:.3f} of the weights)"
        )
        console.print(
            f"against the checkpoint on {parity.images} {parity.source}, detections from confidence "
            f"{parity.confidence:g}{_allowed(parity.bars)}"
        )
        table = Table()
        table.add_column("stage", no_wrap=True)
        for title in ("boxes max px", "best mean", "scores max", "mean", "same detections"):
            table.add_column(title, justify="right", no_wrap=True)
        rows = {stage.name: stage for stage in (parity.noise, *parity.stages)}
        if parity.conversion:
            rows |= {stage.name: stage for stage in (parity.conversion.quantized, parity.conversion.file)}
        for name, stage in rows.items():
            numbers = (stage.boxes, stage.boxes_best, stage.scores, stage.scores_mean)
            same = f"{stage.detections - stage.missed} of {stage.detections}"
            table.add_row(name, *(f"{number:.1e}" for number in numbers), same)
        console.print(table)
        for note in self.written.notes:
            console.print(note)


def _allowed(bars: Bars) -> str:
    return "" if bars.boxes is None else f"; allowed are {bars.boxes:.2g} px and {bars.scores:.2g}"


def _measured(path: Path) -> tuple[int, str]:
    """Bytes and SHA-256 of a file, or of all files of a folder."""
    size, digest = 0, hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            content = file.read_bytes()
            digest.update(b"" if file == path else file.relative_to(path).as_posix().encode())
            digest.update(content)
            size += len(content)
    return size, digest.hexdigest()
