"""What the files of a split say, good and bad: where training stops at the first fault, a survey lists them all."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from yolo.data.annotations import AnnotatedImage
from yolo.data.formats.common import BadLabels
from yolo.data.options import Split


class Faults(BadLabels):
    """Lists faults by kind and stops at none; to the readers it is a policy on bad labels."""

    def __init__(self) -> None:
        super().__init__("skip")
        self.found: dict[str, list[str]] = defaultdict(list)

    def count(self, reason: str, message: str) -> None:
        """List a fault of the kind `reason`; `message` is a sentence that locates it."""
        self.found[reason].append(message)


@dataclass(frozen=True)
class Survey:
    """One split as its files are."""

    split: Split
    listed: int
    """Images that the split has, those included that cannot be used."""
    images: list[AnnotatedImage]
    """Images that can be opened, with the objects that training would keep under on_bad_label=skip."""
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    faults: dict[str, list[str]] = field(default_factory=dict)
    """Sentences by kind of fault."""
    strangers: frozenset[Path] = frozenset()
    """Images beside those of the split which its annotations do not mention."""
