from __future__ import annotations

import numpy as np
import pytest
import torch

from yolo.boxes.letterbox import Letterbox, LetterboxMode

IMAGE = np.full((50, 100, 3), 200, np.uint8)  # 50 high, 100 wide


def test_centre_mode_places_the_content_between_two_bars() -> None:
    box = Letterbox((50, 100), (64, 64))
    assert box.scale == pytest.approx(0.64)
    assert box.size == (32, 64)
    assert box.offset == (16, 0)
    out = box.apply(IMAGE)
    assert out.shape == (64, 64, 3)
    assert out.dtype == np.uint8
    assert (out[16:48] == 200).all()
    assert (out[:16] == 114).all()
    assert (out[48:] == 114).all()


def test_corner_mode_places_the_content_at_the_top() -> None:
    out = Letterbox((50, 100), (64, 64), "corner").apply(IMAGE, pad_value=7)
    assert (out[:32] == 200).all()
    assert (out[32:] == 7).all()


def test_upscales_and_keeps_an_image_of_the_target_size() -> None:
    assert Letterbox((10, 20), (64, 64)).size == (32, 64)
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    assert np.array_equal(Letterbox((64, 48), (64, 48)).apply(image), image)


def test_extreme_aspect_ratio_keeps_one_pixel() -> None:
    box = Letterbox((1, 5000), (64, 64))
    assert box.size == (1, 64)
    assert box.apply(np.zeros((1, 5000, 3), np.uint8)).shape == (64, 64, 3)


def test_boxes_follow_the_pixels() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    image[60:180, 100:300] = 255
    box = Letterbox((300, 400), (128, 160))
    rows, columns = np.nonzero(box.apply(image, pad_value=0)[..., 0] > 127)
    x1, y1, x2, y2 = box.to_target(np.array([100.0, 60, 300, 180]))
    assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == pytest.approx([x1, y1, x2, y2], abs=0.51)


def test_uses_the_scale_of_the_rounded_size() -> None:
    box = Letterbox((333, 1000), (64, 64), "corner")
    assert box.size == (21, 64)
    assert box.to_target(np.array([0.0, 0.0, 1000.0, 333.0])).tolist() == pytest.approx([0, 0, 64, 21], abs=1e-12)


@pytest.mark.parametrize("mode", ["center", "corner"])
@pytest.mark.parametrize("source", [(50, 100), (427, 640), (1080, 1919), (37, 23)])
def test_round_trip_of_boxes(source: tuple[int, int], mode: LetterboxMode) -> None:
    box = Letterbox(source, (320, 416), mode)
    corners = np.sort(np.random.default_rng(0).random((200, 2, 2)), axis=1) * source[::-1]
    boxes = corners.reshape(-1, 4)
    assert np.abs(box.to_source(box.to_target(boxes)) - boxes).max() < 1e-9
    tensor = torch.from_numpy(boxes).float()
    back = box.to_source(box.to_target(tensor))
    assert back.dtype == torch.float32
    assert (back - tensor).abs().max() < (1e-4 if max(source) < 1000 else 1e-3)  # float32 resolves 1e-4 at 1000
    assert np.abs(box.to_target(tensor).double().numpy() - box.to_target(boxes)).max() < 1e-4


def test_to_source_clips_to_the_image_on_request() -> None:
    box = Letterbox((50, 100), (64, 64))
    outside = torch.tensor([[-10.0, 0.0, 90.0, 60.0]])
    assert box.to_source(outside).tolist() == [[0, 0, 100, 50]]
    assert box.to_source(outside, clip=False)[0].tolist() == pytest.approx([-15.625, -25, 140.625, 68.75])
    assert outside.tolist() == [[-10, 0, 90, 60]]
    assert box.to_source(np.empty((0, 4), np.float32)).shape == (0, 4)


def test_wrong_sizes_and_modes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(0, 5\)"):
        Letterbox((0, 5), (64, 64))
    with pytest.raises(ValueError, match="'left'"):
        Letterbox((5, 5), (64, 64), "left")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(100, 50\)"):
        Letterbox((50, 100), (64, 64)).apply(np.zeros((100, 50, 3), np.uint8))
