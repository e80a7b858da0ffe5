"""The one root of all random draws in data order, augmentation and rendering (contract 10)."""

from __future__ import annotations

import numpy as np

# First element of every key, so that two uses of the same (epoch, index) never share a stream.
ORDER = 0
AUGMENT = 1
SCENE = 2
PAINT = 3
FRACTION = 4


def generator(seed: int, *key: int) -> np.random.Generator:
    """A generator that depends on `seed` and `key` (non-negative integers) alone, not on who asks or when.

    The key goes into `spawn_key` because plain entropy is padded with zeros: (1, 2) and (1, 2, 0) would collide.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
