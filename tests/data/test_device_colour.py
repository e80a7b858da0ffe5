from __future__ import annotations

import colorsys

import cv2
import numpy as np
import pytest
import torch

from yolo.data.augment.colour import apply_hsv
from yolo.data.augment.device_colour import recolour_batch

GAINS = [(1, 1, 1), (1.015, 1.7, 1.4), (0.985, 0.3, 0.6), (1, 1.2, 0.9), (0.99, 1.4, 1), (1.3, 1, 1), (1, 0, 0.5)]


def pictures(count: int) -> np.ndarray:
    """As smooth and as colourful as photographs, with every extreme colour, [count, 64, 80, 3]."""
    rng = np.random.default_rng(0)
    images = np.array([cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), (80, 64)) for _ in range(count)])
    images[:, 0, :8] = [[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)]
    images[:, 1] = np.arange(80)[:, None] * 3
    return images


def on_device(images: np.ndarray, gains: object, device: str = "cpu") -> np.ndarray:
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).to(device)
    result = recolour_batch(batch, torch.tensor(gains, dtype=torch.float32, device=device))
    assert result.dtype == torch.uint8
    assert result.is_contiguous(memory_format=torch.channels_last)
    return result.permute(0, 2, 3, 1).cpu().numpy()


def test_each_image_by_its_own_gains_as_opencv_does_it() -> None:
    images = pictures(len(GAINS))
    before = images.copy()
    result = on_device(images, GAINS)
    assert np.array_equal(images, before)
    for image, recoloured, gains in zip(images, result, GAINS, strict=True):
        difference = np.abs(apply_hsv(np.array(gains, float), image).astype(int) - recoloured)
        # OpenCV keeps hue in steps of 2 degrees and the tables round down: 4 degrees of hue are 17 of 255 levels. Where
        # the hue starts anew, at red, one step more or less is a jump.
        hue = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 0]
        assert difference.mean() < 1.5
        assert difference[(hue > 1) & (hue < 179)].max() <= 17


def test_gains_of_one_change_nothing() -> None:
    images = pictures(2)
    assert np.array_equal(on_device(images, [(1, 1, 1)] * 2), images)


def test_against_the_colour_model_of_the_standard_library() -> None:
    images = pictures(len(GAINS))[:, ::9, ::7]
    result = on_device(images, GAINS)
    for (i, y, x), gains in ((p, GAINS[p[0]]) for p in np.ndindex(*images.shape[:3])):
        h, s, v = colorsys.rgb_to_hsv(*(images[i, y, x] / 255))
        expected = colorsys.hsv_to_rgb(h * gains[0] % 1, min(s * gains[1], 1), min(v * gains[2], 1))
        assert np.abs(result[i, y, x] - np.array(expected) * 255).max() <= 0.51


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda() -> None:
    images = pictures(len(GAINS))
    difference = on_device(images, GAINS, "cuda").astype(int) - on_device(images, GAINS)
    assert np.abs(difference).max() <= 1
