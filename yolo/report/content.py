"""What a report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from yolo.evaluation.evaluator import Metrics
from yolo.evaluation.sheet import Pixels

CONFIDENTIAL = "The images are confidential: this report holds numbers only, no pictures and no names of files."


@dataclass(frozen=True)
class ReportContent:
    """All that goes into one report.html."""

    title: str
    """Heading and name of the page, such as the checkpoint's or the run's."""
    metrics: Metrics
    """The evaluation; all numbers come from its `analysis`."""
    pixels: Pixels | None
    """Gives the image of a record, see `YOLODataModule.shown_pixels`; None for a report without pictures."""
    without_pictures: str = CONFIDENTIAL
    """The sentence that stands in place of the pictures when `pixels` is None."""
    training: Sequence[Mapping[str, str | float | None]] | None = None
    """Rows of a run's metrics.csv as `csv.DictReader` gives them: `epoch` from 0, `train/...` and `val/...`."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Data and environment by name, shown as they are; `collect_facts` gathers the usual ones."""
    most_images: int = 24
    """Pictures at most, the worst ones; fewer when they would make the file too large."""

    def name(self, row: int) -> str:
        """What image `row` is called: of confidential ones the id, since names are in no file either."""
        record = self.metrics.records[row]
        confidential = self.pixels is None and self.without_pictures == CONFIDENTIAL
        return f"image {record.image_id}" if confidential else record.path.name
