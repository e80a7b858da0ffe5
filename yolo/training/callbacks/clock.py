"""How fast a run is, and when it will be over."""

from __future__ import annotations

import time
from collections.abc import Callable


class RunClock:
    """Counts the batches of an epoch and the time they take.

    Args:
        now: the time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._epoch_seconds: float | None = None
        self.start_epoch(0)

    def start_epoch(self, batches: int) -> None:
        """Begin an epoch in which `batches` batches are done already."""
        self.batches = self._before = batches
        """Batches of the epoch that are done."""
        self._images = 0
        self._started = self._last = self._now()

    def count(self, images: int) -> None:
        """A batch of that many images, over all processes, is done."""
        self.batches += 1
        self._images += images
        self._last = self._now()

    def end_epoch(self) -> None:
        """Learn how long a whole epoch takes, with its validation."""
        if not self._before:
            self._epoch_seconds = self._now() - self._started

    @property
    def images_per_second(self) -> float:
        """Of training, over the epoch so far; 0 before the first batch."""
        return self._images / max(self._last - self._started, 1e-9)

    @property
    def batches_per_second(self) -> float:
        """Of training, over the epoch so far; 0 before the first batch."""
        return (self.batches - self._before) / max(self._last - self._started, 1e-9)

    def epoch_seconds_left(self, total: int) -> float:
        """Until the last of `total` batches is trained on."""
        return max(total - self.batches, 0) / self.batches_per_second

    def run_seconds_left(self, total: int, epochs: int) -> float:
        """Until the end of this epoch of `total` batches and of `epochs` further ones.

        They take as long as the last whole epoch; in the first one, which has not validated yet, as its batches do.
        """
        each = self._epoch_seconds if self._epoch_seconds is not None else total / self.batches_per_second
        return self.epoch_seconds_left(total) + epochs * each
