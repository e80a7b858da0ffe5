"""What `yolo predict` writes: drawn copies, labels, crops and predictions.json."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo.commands.predict_sources import Source
from yolo.errors import UserError
from yolo.whole_file import whole_file

if TYPE_CHECKING:
    from yolo.detector import Detections


PREDICTIONS = "predictions.json"
NOTED = "predicted.txt"
"""In the output folder: what predict wrote there."""


@dataclass(frozen=True)
class Outputs:
    """Which files are written for an image; called from several threads."""

    folder: Path
    draw: bool
    txt: bool
    crops: bool
    json: bool = False

    @property
    def pictures(self) -> bool:
        """Whether pixels of the images are written."""
        return self.draw or self.crops

    def targets(self, sources: Iterable[Source]) -> list[Path]:
        """Files, and folders of many files, that are written for these sources, below the folder."""
        others = {"labels": self.txt, "crops": self.crops, PREDICTIONS: self.json}
        targets = [source.drawn for source in sources] if self.draw else []
        targets += [Path(name) for name, written in others.items() if written]
        return [*targets, Path(NOTED)] if targets else []

    def refuse_overwriting(self, sources: Sequence[Source]) -> None:
        """UserError when something would be replaced that is a source, or that no earlier predict wrote."""
        folders = {folder.resolve() for folder in {source.path.parent for source in sources}}
        above = {path for folder in folders for path in (folder, *folder.parents)}
        read = {_identity(path) for path in (*above, *(source.path for source in sources))} - {None}
        written = self._noted()
        for target in self.targets(sources):
            path = self.folder / target
            if not os.path.lexists(path):
                continue
            if _identity(path) in read:
                raise UserError(f"{path}: is read by this run and would be overwritten, name another --output")
            if target not in written:
                raise UserError(
                    f"{path}: is there and not from an earlier predict (no such line in {self.folder / NOTED}): "
                    "name another --output, or move it away"
                )

    def note(self, sources: Sequence[Source]) -> None:
        """Keep in the folder what a later run may replace there."""
        if targets := self.targets(sources):
            lines = sorted({path.as_posix() for path in (*self._noted(), *targets)})
            with whole_file(self.folder / NOTED) as partial:
                partial.write_text("".join(f"{line}\n" for line in lines), "utf-8", "surrogateescape")

    def _noted(self) -> set[Path]:
        try:
            return {Path(line) for line in (self.folder / NOTED).read_text("utf-8", "surrogateescape").splitlines()}
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def label_file(self, stem: Path) -> Path:
        """Where the labels of an image are written."""
        return self.folder / "labels" / stem.with_name(f"{stem.name}.txt")

    def write_image(self, found: Detections, source: Source) -> None:
        """Everything asked for of one image."""
        if self.draw:
            write_picture(self.folder / source.drawn, found.plot())
        self.write_beside(found, source.stem)

    def write_beside(self, found: Detections, stem: Path) -> None:
        """Everything but the drawn copy, of an image or a frame."""
        if self.txt:
            target = self.label_file(stem)
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(target) as partial:
                partial.write_text("".join(f"{line}\n" for line in yolo_lines(found)))
        if self.crops:
            self._write_crops(found, stem)

    def _write_crops(self, found: Detections, stem: Path) -> None:
        assert found.image is not None
        height, width = found.size
        for index, (box, name) in enumerate(zip(found.boxes.tolist(), found.names, strict=True)):
            x1, y1 = (max(int(value), 0) for value in box[:2])
            x2, y2 = min(-int(-box[2] // 1), width), min(-int(-box[3] // 1), height)
            if x1 < x2 and y1 < y2:
                folder = self.folder / "crops" / file_name(name) / stem.parent
                write_picture(folder / f"{stem.name}_{index}.jpg", found.image[y1:y2, x1:x2])


@dataclass
class Tally:
    """What was found so far, and what could not be read."""

    keep_entries: bool
    images: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    entries: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[Path, str] = field(default_factory=dict)
    """Why files could not be read."""
    ended_early: dict[Path, str] = field(default_factory=dict)
    """Where videos ended that their headers say to be longer."""

    def add(self, source: Source, found: Detections, **facts: Any) -> None:
        """Count an image, or a frame that `facts` say the place of."""
        self.images += 1
        self.counts.update(found.names)
        if self.keep_entries:
            entry = {"path": str(source.path), **facts, "size": list(found.size), "detections": found.to_dicts()}
            self.entries.append(entry)

    def fail(self, source: Source, reason: str) -> None:
        """Note why a file could not be read, without the file's own name."""
        self.failures[source.path] = reason.removeprefix(str(source.path)).lstrip(": ")

    def write_json(self, path: Path) -> None:
        """All detections as a JSON list, one entry per image or frame."""
        with whole_file(path) as partial:
            partial.write_text(json.dumps(self.entries, indent=1))


def _identity(path: Path) -> tuple[int, int] | None:
    """What two names of one file have in common; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def describe(counts: Counter[str]) -> str:
    """Such as `3 RBC, 1 WBC`; at most eight classes by name."""
    common = counts.most_common()
    others = sum(count for _, count in common[8:])
    shown = [f"{count:,} {name}" for name, count in common[:8]] + ([f"{others:,} of other classes"] if others else [])
    return ", ".join(shown) or "nothing found"


def yolo_lines(found: Detections) -> list[str]:
    """Lines of a YOLO label file with the confidence at the end: class, centre x, y, width, height as fractions."""
    height, width = found.size
    lines = []
    for box, score, index in zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True):
        x1, y1, x2, y2 = box
        values = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height, score
        lines.append(" ".join([str(index), *(f"{value:.6f}" for value in values)]))
    return lines


def file_name(text: str) -> str:
    """A class name as the name of a folder."""
    return re.sub(r"[^\w .()+-]", "_", text).strip(". ") or "_"


def write_picture(target: Path, image: Any) -> None:
    """Write an RGB image in the format of the target's suffix, under that name only when complete."""
    import cv2

    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        written, data = cv2.imencode(target.suffix or ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error as error:
        raise UserError(f"{target}: the picture cannot be written in this format ({error.err})") from error
    if not written:
        raise UserError(f"{target}: the picture cannot be written")
    with whole_file(target) as partial:
        partial.write_bytes(data.tobytes())
