"""Textures and colours of the embedded dataset."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Smallest distance in RGB (0..255 per channel) between a shape's colour and what lies behind it.
_MIN_CONTRAST = 110.0


def paint(
    rng: np.random.Generator,
    size: tuple[int, int],
    layers: Sequence[tuple[tuple[slice, slice], NDArray[np.uint8]]],
) -> NDArray[np.uint8]:
    """A picture uint8 [h, w, 3] of `size`: textured ground, stray lines, then the layers from back to front.

    A layer is a region of the picture and how much of each of its pixels is covered, 0..255.
    """
    height, width = size
    colour = rng.uniform(30, 225, 3)
    ground = _texture(rng, size, colour, (colour + rng.uniform(-60, 60, 3)).clip(0, 255)).astype(np.uint8)
    for _ in range(int(rng.integers(2, 7))):
        (x1, y1), (x2, y2) = (rng.random((2, 2)) * (width, height)).astype(int).tolist()
        cv2.line(ground, (x1, y1), (x2, y2), rng.uniform(0, 255, 3).tolist(), int(rng.integers(1, 3)), cv2.LINE_AA)
    canvas = ground.astype(np.float32)
    for region, coverage in layers:
        behind = canvas[region]
        colour = _contrasting(rng, behind.mean((0, 1)))
        front = _texture(rng, coverage.shape, colour, (colour + rng.uniform(-35, 35, 3)).clip(0, 255))
        behind += (front - behind) * (coverage[..., None] / np.float32(255))
    canvas += rng.integers(-9, 10, (height, width, 1), np.int8)
    return canvas.clip(0, 255).astype(np.uint8)


def _contrasting(rng: np.random.Generator, behind: Floats) -> NDArray[np.float64]:
    """A random colour that differs from the mean colour `behind`."""
    colours = rng.uniform(0, 255, (8, 3))
    distances = np.linalg.norm(colours - behind, axis=1)
    good = np.flatnonzero(distances >= _MIN_CONTRAST)
    return np.asarray(colours[good[0] if len(good) else distances.argmax()])


def _texture(
    rng: np.random.Generator, size: tuple[int, ...], first: NDArray[np.float64], second: NDArray[np.float64]
) -> Floats:
    """A field float32 [h, w, 3] between two colours: a gradient, stripes or smooth noise."""
    kind = rng.integers(3)
    if kind == 2:
        cells = rng.random(rng.integers(3, 9, 2), np.float32)
        mix = cv2.resize(cells, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    else:
        angle, phase = rng.uniform(0, 2 * math.pi, 2)
        x = np.arange(size[1], dtype=np.float32) * math.cos(angle)
        y = np.arange(size[0], dtype=np.float32) * math.sin(angle)
        along = x + y[:, None]
        if kind == 1:
            mix = 0.5 + 0.5 * np.sin(along * (2 * math.pi / rng.uniform(5, 30)) + phase)
        else:
            mix = (along - along.min()) / max(float(np.ptp(along)), 1.0)
    return (first + (second - first) * mix[..., None]).astype(np.float32)
