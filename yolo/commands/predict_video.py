"""Frames of a video file, one after the other, and the annotated copy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

USUAL_RATE = 25.0
"""Frames per second of a video that does not say."""


@dataclass(frozen=True)
class Video:
    """An open video file."""

    rate: float
    """Frames per second."""
    frames: int
    """Number of frames that the file says it has, 0 when it says none."""
    read: Callable[[], NDArray[np.uint8] | None]
    """The next frame, uint8 [H, W, 3] RGB, None at the end."""

    def ended_early(self, found: int) -> bool:
        """Whether frames are missing: the number of frames in a header may be an estimate, but not a far one."""
        return found < 0.95 * self.frames


@contextlib.contextmanager
def open_video(path: Path) -> Iterator[Video]:
    """A video whose frames are read in turn. UserError when it cannot be opened."""
    import cv2

    capture: Any = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise UserError(f"{path}: not a video that OpenCV can decode")
        rate = float(capture.get(cv2.CAP_PROP_FPS))

        def read() -> NDArray[np.uint8] | None:
            there, frame = capture.read()
            return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) if there else None

        frames = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        yield Video(rate if 0 < rate < 1000 else USUAL_RATE, frames, read)
    finally:
        capture.release()


@contextlib.contextmanager
def video_copy(target: Path, rate: float) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """Gives a function that adds an RGB frame to an MP4 file, which is there under its name only when complete."""
    import cv2

    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".partial-{target.name}")  # the suffix chooses the container
    writer: Any = None

    def add(frame: NDArray[np.uint8]) -> None:
        nonlocal writer
        if writer is None:
            size = (frame.shape[1], frame.shape[0])
            writer = cv2.VideoWriter(str(partial), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
            if not writer.isOpened():
                raise UserError(f"{target}: OpenCV cannot write a video of {size[0]} x {size[1]} pixels here")
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    try:
        yield add
        if writer is not None:
            writer.release()
            partial.replace(target)
    finally:
        if writer is not None:
            writer.release()
        partial.unlink(missing_ok=True)
