"""What the dataset formats share: bad labels, split files."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from yolo.data.image_files import names_of
from yolo.data.options import BadLabelPolicy
from yolo.errors import UserError

logger = logging.getLogger(__name__)


class BadLabels:
    """Stops at the first bad label, or counts them all, as `on_bad_label` says."""

    def __init__(self, policy: BadLabelPolicy) -> None:
        self.policy = policy
        self.counts: Counter[str] = Counter()
        self._first = ""

    def add(self, reason: str, message: str) -> None:
        """Take note of one bad label: `reason` is its kind in a few words, `message` a sentence that locates it."""
        if self.policy == "error":
            raise UserError(f"{message} (data.on_bad_label=skip leaves such labels out)")
        self.count(reason, message)

    def count(self, reason: str, message: str) -> None:
        """Leave a label out under either policy."""
        self._first = self._first or message
        self.counts[reason] += 1

    def report(self, source: Path) -> dict[str, int]:
        """Log one summary if there was anything, and return the counts."""
        if self.counts:
            listing = ", ".join(f"{count} {reason}" for reason, count in self.counts.items())
            logger.warning("%s: skipped bad labels: %s; the first: %s", source, listing, self._first)
        return dict(self.counts)


def read_text(path: Path, what: str) -> str:
    """The text of a file; a missing one, or one not in UTF-8, is a UserError that says `what` it should be."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file, expected {what}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as {what} ({error})") from error


def select(paths: Sequence[Path], split_file: Path | None) -> list[int]:
    """Positions of the images that a split file names (stem or file name, one per line); all without a split file."""
    if split_file is None:
        return list(range(len(paths)))
    lines = read_text(split_file, "a list of image names").splitlines()
    wanted = {Path(line.strip()).name for line in lines if line.strip()}
    names = [names_of(path) & wanted for path in paths]
    unknown = wanted.difference(*names)
    if unknown:
        raise UserError(f"{split_file}: {min(unknown)!r} names no image of the dataset ({len(unknown)} such lines)")
    if not wanted:
        raise UserError(f"{split_file}: names no image, expected one image name per line")
    return [i for i, found in enumerate(names) if found]
