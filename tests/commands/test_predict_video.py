from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from yolo.commands.predict_video import USUAL_RATE, Video, open_video, video_copy
from yolo.errors import UserError


def frames(number: int) -> list[np.ndarray]:
    return [np.full((48, 64, 3), (10 + 20 * i, 0, 200), np.uint8) for i in range(number)]


def make(path: Path, number: int) -> Path:
    with video_copy(path, 10.0) as add:
        for frame in frames(number):
            add(frame)
    return path


def test_frames_come_back_in_order_and_in_rgb(tmp_path: Path) -> None:
    make(tmp_path / "a.mp4", 6)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    with open_video(tmp_path / "a.mp4") as video:
        assert (video.rate, video.frames) == (10.0, 6)
        for expected in frames(6):
            found = video.read()
            assert found is not None
            assert np.abs(found[24, 32].astype(int) - expected[24, 32]).max() < 16
        assert video.read() is None
        assert not video.ended_early(6)


def test_no_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video at all")
    with pytest.raises(UserError, match=r"a\.mp4: not a video that OpenCV can decode"), open_video(tmp_path / "a.mp4"):
        pass


def test_a_video_that_ends_early() -> None:
    video = Video(USUAL_RATE, 100, lambda: None)
    assert not video.ended_early(96)  # estimates are a little off
    assert video.ended_early(50)
    assert not Video(USUAL_RATE, 0, lambda: None).ended_early(7)


def test_after_an_error_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), video_copy(tmp_path / "a.mp4", 10.0) as add:  # noqa: PT012
        add(frames(1)[0])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_without_a_frame_there_is_no_file(tmp_path: Path) -> None:
    with video_copy(tmp_path / "a.mp4", 10.0):
        pass
    assert list(tmp_path.iterdir()) == []


def test_capture_is_released_after_an_error(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", 2)
    with pytest.raises(RuntimeError), open_video(path) as video:
        raise RuntimeError
    assert video.read() is None  # a released capture gives nothing
    assert cv2.VideoCapture(str(path)).isOpened()


def test_what_a_killed_run_left_goes_with_the_next(tmp_path: Path) -> None:
    (tmp_path / ".partial-a.mp4").write_bytes(b"half")
    make(tmp_path / "a.mp4", 2)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
