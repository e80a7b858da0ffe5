from __future__ import annotations

import itertools

import numpy as np

from yolo.data.randomness import AUGMENT, ORDER, generator


def test_a_key_always_gives_the_same_draws() -> None:
    assert generator(3, AUGMENT, 5, 7).random(4).tolist() == generator(3, AUGMENT, 5, 7).random(4).tolist()


def test_different_keys_give_different_draws_also_with_trailing_zeros() -> None:
    keys = [(s, *key) for s in (0, 1) for n in (1, 2, 3) for key in itertools.product((ORDER, AUGMENT), repeat=n)]
    draws = {generator(*key).integers(2**63) for key in keys}
    assert len(draws) == len(keys)


def test_draws_do_not_touch_the_global_state() -> None:
    np.random.seed(0)  # noqa: NPY002 (the legacy global state is what is tested)
    before = np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    generator(0, 1).random(10)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]  # noqa: NPY002


def test_golden_draws() -> None:
    """A change here changes every training run: then say so in the changelog."""
    assert generator(0, ORDER, 0).permutation(8).tolist() == GOLDEN_ORDER
    assert generator(7, AUGMENT, 2, 11).integers(1000, size=4).tolist() == GOLDEN_INTEGERS


GOLDEN_ORDER = [7, 0, 1, 6, 5, 2, 3, 4]
GOLDEN_INTEGERS = [987, 581, 9, 695]
