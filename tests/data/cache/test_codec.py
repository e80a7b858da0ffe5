from __future__ import annotations

import numpy as np
import pytest

from yolo.data.cache.codec import Codec

IMAGE = np.kron(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))


def stored(codec: Codec) -> np.ndarray:
    return np.frombuffer(memoryview(codec.encode(IMAGE)), np.uint8)


@pytest.mark.parametrize("lz4", [False, True])
def test_raw_pixels_come_back(lz4: bool) -> None:
    value = stored(Codec("raw", lz4))
    assert np.array_equal(Codec("raw", lz4).decode(value, (48, 64)), IMAGE)
    assert (value.size < IMAGE.size) is lz4


def test_jpeg_is_close_and_smaller() -> None:
    value = stored(Codec("jpeg", quality=95))
    image = Codec("jpeg").decode(value, (48, 64))
    assert np.abs(image.astype(int) - IMAGE).mean() < 12  # colours have half the resolution
    assert value.size < IMAGE.size
    assert stored(Codec("jpeg", quality=50)).size < value.size


@pytest.mark.parametrize("codec", [Codec("jpeg"), Codec("raw"), Codec("raw", lz4=True)])
def test_damage_is_an_error(codec: Codec) -> None:
    value = stored(codec)
    for damaged, size in ((value[:0], (48, 64)), (value[:40], (48, 64)), (value, (48, 65))):
        with pytest.raises(ValueError, match=r"."):
            codec.decode(damaged, size)


@pytest.mark.parametrize("size", [(20_000, 20_000), (1 << 15, 1 << 15)])
def test_nobody_makes_us_allocate_for_nothing(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="too few bytes"):
        Codec("raw", lz4=True).decode(stored(Codec("raw", lz4=True)), size)
