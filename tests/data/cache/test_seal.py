from __future__ import annotations

import os

import numpy as np
import pytest

from yolo.data.cache.seal import KEY_BYTES, AESSeal, DigestSeal, Seal, SealError

SEALS = [AESSeal(bytes(range(32)), b"i" * 16), DigestSeal(b"i" * 16)]
ONE, TWO = bytes(7) + b"\1", bytes(7) + b"\2"


@pytest.mark.parametrize("seal", SEALS)
@pytest.mark.parametrize("count", [0, 1, 5000])
def test_a_value_comes_back(seal: Seal, count: int) -> None:
    value = os.urandom(count)
    stored = seal.close(ONE, value)
    assert len(stored) == count + seal.overhead
    opened = seal.open(ONE, memoryview(stored))
    assert opened.tobytes() == value
    assert not opened.flags.writeable


@pytest.mark.parametrize("seal", SEALS)
def test_every_flipped_bit_is_found(seal: Seal) -> None:
    stored = seal.close(ONE, b"twenty bytes of text")
    for bit in range(8 * len(stored)):
        changed = bytearray(stored)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealError) as caught:
            seal.open(ONE, memoryview(changed))
        assert caught.value.belongs_to is None


@pytest.mark.parametrize("seal", SEALS)
def test_a_value_opens_under_its_own_key_only(seal: Seal) -> None:
    with pytest.raises(SealError) as caught:
        seal.open(TWO, memoryview(seal.close(ONE, b"value")))
    assert caught.value.belongs_to == ONE


@pytest.mark.parametrize("seal", SEALS)
def test_a_value_of_another_cache_does_not_open(seal: Seal) -> None:
    other = AESSeal(bytes(range(32)), b"j" * 16) if isinstance(seal, AESSeal) else DigestSeal(b"j" * 16)
    with pytest.raises(SealError) as caught:
        seal.open(ONE, memoryview(other.close(ONE, b"value")))
    assert caught.value.belongs_to is None


@pytest.mark.parametrize("seal", SEALS)
@pytest.mark.parametrize("count", [0, 4, 30])
def test_a_value_cut_short(seal: Seal, count: int) -> None:
    with pytest.raises(SealError):
        seal.open(ONE, memoryview(seal.close(ONE, bytes(9))[:count]))


def test_nothing_of_the_value_is_stored_and_nonces_are_fresh() -> None:
    first, second = (SEALS[0].close(ONE, bytes(1000)) for _ in range(2))
    assert bytes(4) not in first[KEY_BYTES:]
    assert first[KEY_BYTES : KEY_BYTES + 12] != second[KEY_BYTES : KEY_BYTES + 12]


def test_a_value_in_clear_is_a_view() -> None:
    stored = SEALS[1].close(ONE, bytes(100))
    value = SEALS[1].open(ONE, memoryview(stored), check=False)
    assert np.shares_memory(value, np.frombuffer(stored, np.uint8))
