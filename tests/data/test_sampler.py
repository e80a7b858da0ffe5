from __future__ import annotations

import pytest

from yolo.data.sampler import EpochSampler


def test_yields_every_index_once_with_its_epoch() -> None:
    sampler = EpochSampler(10, seed=0)
    sampler.set_epoch(4)
    items = list(sampler)
    assert [item.epoch for item in items] == [4] * 10
    assert sorted(item.index for item in items) == list(range(10))
    assert len(sampler) == 10


def test_order_follows_from_seed_and_epoch_alone() -> None:
    first, second = EpochSampler(50, seed=1), EpochSampler(50, seed=1)
    first.set_epoch(2)
    list(second)
    second.set_epoch(2)
    assert list(first) == list(second)
    orders = set()
    for seed in (0, 1):
        for epoch in (0, 1):
            sampler = EpochSampler(50, seed)
            sampler.set_epoch(epoch)
            orders.add(tuple(item.index for item in sampler))
    assert len(orders) == 4


@pytest.mark.parametrize(("size", "world_size"), [(10, 2), (11, 3), (8, 8), (9, 4), (3, 1)])
def test_ranks_share_without_overlap_and_equally(size: int, world_size: int) -> None:
    left_over = set()
    for epoch in range(5):
        shares = []
        for rank in range(world_size):
            sampler = EpochSampler(size, 0, rank, world_size)
            sampler.set_epoch(epoch)
            shares.append([item.index for item in sampler])
            assert len(shares[-1]) == len(sampler) == size // world_size
        together = [index for share in shares for index in share]
        assert len(set(together)) == len(together)
        left_over |= set(range(size)) - set(together)
    if size % world_size and size > world_size:
        assert len(left_over) > size % world_size, "the same images are left out every epoch"


def test_a_rank_outside_the_world_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 2 is not in a world of 2"):
        EpochSampler(4, 0, rank=2, world_size=2)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_begun_epoch_goes_on_and_the_next_is_whole(rank: int) -> None:
    whole, begun = EpochSampler(21, 0, rank, 2), EpochSampler(21, 0, rank, 2)
    begun.start_at(3, 4)
    for epoch in (3, 4, 3):
        whole.set_epoch(epoch)
        begun.set_epoch(epoch)
        assert list(begun) == list(whole)[4 if epoch == 3 else 0 :]
    assert len(begun) == len(whole) == 10


@pytest.mark.parametrize(("size", "pool_size"), [(20, 6), (20, 5), (20, 64), (20, 0), (3, 2), (1, 4)])
def test_pools_are_blocks_of_the_order(size: int, pool_size: int) -> None:
    items = list(EpochSampler(size, 0, pool_size=pool_size))
    order = [item.index for item in items]
    length = min(pool_size or size, size)
    for position, item in enumerate(items):
        assert item.index in item.pool
        start = min(position // length * length, size - length)
        assert list(item.pool) == order[start : start + length]


def test_a_begun_epoch_keeps_its_pools() -> None:
    whole, begun = (EpochSampler(40, 0, pool_size=8) for _ in range(2))
    begun.start_at(0, 13)
    assert list(begun) == list(whole)[13:]
