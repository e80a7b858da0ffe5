"""The order in which training images are seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch.utils.data import Sampler

from yolo.data.randomness import ORDER, generator


@dataclass(frozen=True, slots=True)
class TrainingItem:
    """What a training sample is made of. It travels to the workers, which live for the whole run and know no epoch."""

    epoch: int
    index: int
    pool: tuple[int, ...]
    """Where the further images of a composition are drawn from."""


class EpochSampler(Sampler[TrainingItem]):
    """A fresh permutation of `size` images each epoch, shared out among the processes.

    Ranks get disjoint indices and equally many of them; when `size` does not divide, the few left over differ from
    epoch to epoch. The images of a rank are cut into blocks of `pool_size` (0: one block), each its items' pool: random
    images all the same, but few enough at a time to be kept decoded.
    """

    def __init__(self, size: int, seed: int, rank: int = 0, world_size: int = 1, pool_size: int = 0) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not in a world of {world_size}")
        self.size = size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.pool_size = min(pool_size or len(self), len(self))
        self.epoch = 0
        self._begun = (-1, 0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; Lightning calls this before each one."""
        self.epoch = epoch

    def start_at(self, epoch: int, images: int) -> None:
        """Leave out the first `images` of `epoch`: a run that is resumed in the middle of it has trained on them."""
        self._begun = (epoch, images)

    def __len__(self) -> int:
        return self.size // self.world_size

    def __iter__(self) -> Iterator[TrainingItem]:
        order = generator(self.seed, ORDER, self.epoch).permutation(self.size)
        mine = order[self.rank : len(self) * self.world_size : self.world_size].tolist()
        epoch, images = self._begun
        return self._items(mine, images if self.epoch == epoch else 0)

    def _items(self, mine: list[int], begun: int) -> Iterator[TrainingItem]:
        for start in range(0, len(mine), self.pool_size or 1):
            # The last block is filled up from the one before it.
            first = min(start, len(mine) - self.pool_size)
            pool = tuple(mine[first : first + self.pool_size])
            for position in range(max(start, begun), min(start + self.pool_size, len(mine))):
                yield TrainingItem(self.epoch, mine[position], pool)
